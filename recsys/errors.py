"""The mistakes that a user can make, as exceptions.

Every error that a user can cause derives from `UserError`: the command line prints it as one line
and exits with 2. Any other exception is a bug and keeps its traceback.
"""

from __future__ import annotations


class UserError(ValueError):
    """A user's mistake; the message is one line: what, where, what was expected."""


class InputError(UserError):
    """A data file or data set that cannot be used."""


class ConfigError(UserError):
    """A configuration or space that cannot be used.

    parameter: the flat parameter of a config that has to be changed, if it is due to one.
    """

    def __init__(self, message: str, parameter: str | None = None) -> None:
        super().__init__(message)
        self.parameter = parameter


class DivergedError(ArithmeticError):
    """Training produced NaN or infinity, in `epoch` with `config`."""

    def __init__(self, epoch: int, config: str) -> None:
        # Both values are in args, so that the exception survives pickling between processes.
        super().__init__(epoch, config)
        self.epoch = epoch
        self.config = config

    def __str__(self) -> str:
        return f"training diverged (NaN or overflow) in epoch {self.epoch} with {self.config}"
