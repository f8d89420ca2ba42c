"""How many trials a run can make: a countable space has only so many different configs.

Equal configs of a run have equal seeds, so their trainings would be identical. Therefore no config
is trained twice, and a search ends once its space is exhausted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from recsys.errors import ConfigError
from search.record.result import SearchEnd, searched
from search.record.state import RunState
from search.space.spec import MAX_TRIALS, SearchSpec
from search.space.strategies import SEARCHERS
from search.words import counted

COUNT_LIMIT = 10_000  # the most configs to count; building so many takes about a second


def different_configs(spec: SearchSpec, most: int) -> int | None:
    """How many different trainings a space describes.

    None where there are more than `most`, or too many to count: then the space sets no limit
    beforehand, and the search ends when it finds no new config (`NoNewConfigError` of
    `search.propose.new_configs`).
    """
    if any(p.domain.values() is None for p in spec.searched()):
        return None
    found: set[str] = set()
    for n, params in enumerate(spec.grid()):
        found.add(spec.train_config(params).key())
        if len(found) > most or n >= COUNT_LIMIT:
            return None
    return len(found)


def distinct(configs: Iterable[Mapping[str, Any]]) -> int:
    """How many different configs there are among flat training configs."""
    return len({tuple(sorted(config.items())) for config in configs})


@dataclass(frozen=True)
class TrialsPlan:
    """How many trials a run is to have in all. notes: lines for the user about that."""

    trials: int
    notes: tuple[str, ...] = ()


def plan_new(spec: SearchSpec, *, by_option: bool = False) -> TrialsPlan:
    """The trials of a new run: as many as the space asks for, or as it has configs.

    by_option: whether the number in `spec` was given by --trials.
    """
    size = different_configs(spec, spec.trials)
    if size is None or size >= spec.trials:
        return TrialsPlan(spec.trials)
    asked = f"{'--trials asked' if by_option else 'the space asks'} for {spec.trials:,}"
    kind = SEARCHERS[spec.searcher].space
    planned = "1 trial is" if size == 1 else f"{size:,} trials are"
    line = f"note: the {kind} has {counted(size, 'config')}: {planned} planned ({asked})"
    return TrialsPlan(size, (line,))


def plan_more(
    spec: SearchSpec, state: RunState, planned: int, extend: int | None, *, wider: bool = False
) -> TrialsPlan:
    """The trials of a run that is resumed: the `planned` ones, or `extend` more than have ended.

    wider: whether the space was widened, so that it may have new configs again. Raises ConfigError
    for more trials than a run can have.
    """
    made = len(state.trials)
    ended = sum(t.finished for t in state.trials.values())
    wanted = planned if extend is None else max(made, ended + extend)
    tried = distinct(t.config for t in state.trials.values())
    through = _through(state) and not wider
    trials = made + (0 if through else room(spec, tried, max(0, wanted - made)))
    if extend is None:
        return TrialsPlan(min(trials, wanted) if made <= wanted else wanted)
    if trials <= made and trials < wanted:
        return TrialsPlan(trials, (f"note: no more trials: {every(tried)} of the space was tried",))
    line = f"note: {counted(ended, 'trial')} so far, {trials - ended:,} more: {trials:,} in all"
    if trials > (most := MAX_TRIALS):
        raise ConfigError(
            f"--extend {extend:,}: {counted(ended, 'trial')} so far, a run has at most {most:,}: "
            f"expected at most {max(0, most - ended):,}"
        )
    if trials < wanted:
        line += f" (the space has {counted(trials - made, 'config')} left, not {wanted - made:,})"
    elif trials < planned:
        line += f" (not the {planned:,} planned before)"
    return TrialsPlan(trials, (line,))


def room(spec: SearchSpec, tried: int, wanted: int) -> int:
    """How many of `wanted` further trials would find a new config, after `tried` different ones."""
    size = different_configs(spec, tried + wanted)
    return wanted if size is None else max(0, min(wanted, size - tried))


def configs_left(spec: SearchSpec, state: RunState) -> bool:
    """Whether a further trial would find an untried config."""
    tried = distinct(t.config for t in state.trials.values())
    return not _through(state) and room(spec, tried, 1) > 0


def _through(state: RunState) -> bool:
    """Whether the search ended because it found no new config in a space too large to count."""
    search = searched(state)
    return search is not None and search.stopped_by == SearchEnd.SPACE


def every(tried: int) -> str:
    """`the only config`, `each of the 4 configs`."""
    return "the only config" if tried == 1 else f"each of the {tried:,} configs"


def with_trials(spec: SearchSpec, trials: int) -> SearchSpec:
    """`spec` with another number of trials."""
    return replace(spec, trials=trials)


def searched_for(state: RunState, trials: int) -> bool:
    """Whether a search for `trials` trials is done; its time budget may have ended it early.

    The journal may have a done search for another number: where an extension was interrupted
    before it began.
    """
    found = searched(state)
    return found is not None and found.planned == trials
