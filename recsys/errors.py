"""The mistakes that a user can make, as exceptions.

Everything a user can cause derives from `UserError`: the CLI prints it as one line and exits
with 2. Any other exception is our bug and keeps its traceback.
"""

from __future__ import annotations


class UserError(ValueError):
    """A user's mistake; the message is one line: what, where, what was expected."""


class InputError(UserError):
    """A data file or data set that cannot be used."""


class ConfigError(UserError):
    """A configuration or space that cannot be used.

    parameter: the flat parameter of a config that is to be changed, where it is one.
    """

    def __init__(self, message: str, parameter: str | None = None) -> None:
        super().__init__(message)
        self.parameter = parameter


class DivergedError(ArithmeticError):
    """Training produced NaN or infinity; carries the epoch and the config that did it."""

    def __init__(self, epoch: int, config: str) -> None:
        # Both values go to args, so that the exception survives pickling between processes.
        super().__init__(epoch, config)
        self.epoch = epoch
        self.config = config

    def __str__(self) -> str:
        return f"training diverged (NaN or overflow) in epoch {self.epoch} with {self.config}"
