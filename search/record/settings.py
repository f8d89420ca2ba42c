"""What a run is, decided once and for all: kept in the journal, read back on resume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from recsys.data.lists import BLANK
from recsys.errors import InputError
from search.record.state import RunState

DEFAULT_SEED = 42  # of a run whose user gives none


@dataclass(frozen=True)
class Settings:
    """Everything but the space. Paths are absolute; `time_budget` is in seconds.

    settles: whether the search ends once more trials gain too little (`search.tune.settled`).
    tracking_uri: None is the local store of the checkout, wherever that is now. submission_sep:
    between the items of a submission. has_default: whether the first config that the space lists is
    its own, not that of an earlier run. system_metrics: whether the journal records from time to
    time how busy this machine is. values_digest: of the values of pairs, where the space asks for
    a weight of them and the data have any.
    """

    data: str
    min_rating: float | None
    columns: dict[str, str] | None
    seed: int
    trials: int
    time_budget: float | None
    cpus_per_trial: int
    gpus_per_trial: float
    device: str
    address: str | None
    storage: str | None
    tracking_uri: str | None
    data_digest: str = ""
    ids_digest: str = ""
    split_digest: str = ""
    values_digest: str = ""
    submission_sep: str = BLANK
    settles: bool = False
    has_default: bool = True
    system_metrics: bool = False

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Settings:
        """Read back what `asdict` wrote; keys of later versions are ignored. Raises InputError if
        any is missing.
        """
        known = {f.name for f in fields(Settings)}
        try:
            return Settings(**{k: v for k, v in values.items() if k in known})
        except TypeError:
            raise InputError(
                "the run's journal lacks settings: it is damaged, or from another version"
            ) from None


def settings_of(state: RunState) -> Settings:
    """The settings of a run, as its last session gave them. Raises InputError where the journal
    lacks any of them.
    """
    return Settings.from_dict(state.run.settings or {})


def known_settings(state: RunState) -> Settings | None:
    """The same, but None where any is missing: for showing and delivering whatever there is."""
    try:
        return settings_of(state)
    except InputError:
        return None
