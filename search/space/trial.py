"""One trial as values: the chosen parameters, the training they describe, and its seed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from recsys.models import ModelConfig
from search.space.domains import Pairs, Value
from search.space.spec import SearchSpec


def trial_seed(run_seed: int, config_key: str) -> int:
    """63 bits that depend only on the run's seed and the config (`ModelConfig.key()`).

    So a trial can be repeated exactly, wherever and whenever it runs, and equal configs of a run
    have equal seeds.
    """
    digest = hashlib.sha256(f"{run_seed}\n{config_key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def trial_id(number: int) -> str:
    """The name of a trial in Tune, the journal and MLflow: t0007 for number 7."""
    return f"t{number:04d}"


@dataclass(frozen=True)
class TrialConfig:
    """A trial. chosen: the active searched parameters. train: the config of the training. seed: for
    its generator. number: of the trial in the run, from 0.

    Ray copies a trial several times and writes it into messages that nobody reads. So a copy is the
    trial itself, in which nothing changes, and its text leaves out the parameters.
    """

    chosen: Pairs = field(repr=False)
    train: ModelConfig = field(repr=False)
    seed: int
    number: int = 0

    @staticmethod
    def of(
        spec: SearchSpec,
        params: Mapping[str, Value],
        run_seed: int,
        number: int = 0,
        fit: Callable[[ModelConfig], ModelConfig] | None = None,
    ) -> TrialConfig:
        """The trial with these parameters. Raises ConfigError where they do not fit the space.

        params: the active searched ones. fit: shortens the training where that is necessary.
        """
        train = spec.train_config(params)
        train = train if fit is None else fit(train)
        seed = trial_seed(run_seed, train.key())
        return TrialConfig(tuple(params.items()), train, seed, number)

    def __deepcopy__(self, _memo: object) -> TrialConfig:
        return self

    @property
    def id(self) -> str:
        """See `trial_id`."""
        return trial_id(self.number)

    @property
    def params(self) -> dict[str, Value]:
        """`chosen` by name: what the journal calls `params`."""
        return dict(self.chosen)
