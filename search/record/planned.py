"""How many trials a run can make: a space that can be counted has only so many different configs.

Equal configs of a run have equal seeds and would give identical trainings. So none is trained
twice, and a search ends once its space is exhausted.
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

COUNT_LIMIT = 10_000  # configs that are counted at most; building as many takes about a second


def different_configs(spec: SearchSpec, most: int) -> int | None:
    """How many different trainings a space describes.

    None where there are more than `most`, or too many to count: then nothing limits the search
    beforehand, and it ends by itself if it finds no new config (`NoNewConfigError` of
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
    """How many of some flat training configs differ."""
    return len({tuple(sorted(config.items())) for config in configs})


@dataclass(frozen=True)
class TrialsPlan:
    """How many trials a run is to have in all, and what to say about that, a line each."""

    trials: int
    notes: tuple[str, ...] = ()


def plan_new(spec: SearchSpec, *, by_option: bool = False) -> TrialsPlan:
    """The trials of a new run: those of the space, or as many as it has configs.

    `by_option`: the number is that of --trials.
    """
    size = different_configs(spec, spec.trials)
    if size is None or size >= spec.trials:
        return TrialsPlan(spec.trials)
    asked = f"{'--trials' if by_option else 'trials:'} {spec.trials:,}"
    kind = SEARCHERS[spec.searcher].space
    planned = "1 trial is" if size == 1 else f"{size:,} trials are"
    line = f"note: the {kind} has {counted(size, 'config')}: {planned} planned ({asked} is more)"
    return TrialsPlan(size, (line,))


def plan_more(
    spec: SearchSpec, state: RunState, planned: int, extend: int | None, *, wider: bool = False
) -> TrialsPlan:
    """The trials of a run that is resumed: the `planned` ones, or `extend` more than have ended.

    wider: whether the space has become larger, so that it may have new configs again. ConfigError
    for more than a space may have.
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
        line += f" (the space has {trials - made:,} more configs, not {wanted - made:,})"
    elif trials < planned:
        line += f" (not the {planned:,} planned before)"
    return TrialsPlan(trials, (line,))


def room(spec: SearchSpec, tried: int, wanted: int) -> int:
    """How many of `wanted` further trials would find a new config, after `tried` different ones."""
    size = different_configs(spec, tried + wanted)
    return wanted if size is None else max(0, min(wanted, size - tried))


def configs_left(spec: SearchSpec, state: RunState) -> bool:
    """Whether a further trial would find a config that was not tried."""
    tried = distinct(t.config for t in state.trials.values())
    return not _through(state) and room(spec, tried, 1) > 0


def _through(state: RunState) -> bool:
    """Whether the search ended because it found no new config, in a space without a count."""
    search = searched(state)
    return search is not None and search.stopped_by == SearchEnd.SPACE


def every(tried: int) -> str:
    """`the only config`, `each of the 4 configs`."""
    return "the only config" if tried == 1 else f"each of the {tried:,} configs"


def with_trials(spec: SearchSpec, trials: int) -> SearchSpec:
    """`spec` with another number of trials."""
    return replace(spec, trials=trials)
