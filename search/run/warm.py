"""A search that begins with what earlier runs found: `--warm-start RUN`.

The best configs of other runs, also on other data, are tried first where the space can express
them. They become part of the run's own space (`enqueue`), so that a resume does not need those
runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from recsys.errors import ConfigError
from recsys.models import DEFAULT, config_of
from search.paste import quoted
from search.record.folder import RunFolder
from search.record.result import decided
from search.record.standing import standing
from search.record.state import RunState, TrialRecord
from search.space.domains import ALTERNATIVES, UNSAID, Bundle, Constant, Pairs, Param, Value
from search.space.load import load_run_spec
from search.space.spec import SearchSpec, walk
from search.space.strategies import SEARCHERS
from search.words import counted

PER_RUN = 3  # configs taken from each run
FREE = ("patience", "epochs")  # may differ: they say how long is trained, not what
BATCH = "batch_size"  # may differ between constants: it follows from the device and the data


def warmed(
    spec: SearchSpec, runs: Sequence[str], place: Path, note: Callable[[str], None]
) -> SearchSpec:
    """`spec` with the best configs of `runs` after its first listed one.

    place: the folder in which runs are looked up by name. note: called with a line for each run,
    on what is taken from it. The first default remains the first trial, since the race compares
    with it. Raises ConfigError where a run is missing or has no trial with a value, and where no
    config of any run fits the space.
    """
    if spec.is_table or SEARCHERS[spec.searcher].whole:
        raise ConfigError(
            f"--warm-start: has no effect on {spec.name}, which tries a fixed list of configs"
        )
    there, taken = list(spec.enqueue), 0
    position = 1 if there else 0
    for run in runs:
        folder = RunFolder.open(place, run, said="--warm-start")
        best = best_trials(folder.state())
        if not best:
            raise ConfigError(f"--warm-start {quoted(run)}: the run has no trial with a value")
        before = load_run_spec(folder.path)
        found = [pairs for trial in best if (pairs := moved(before, trial, spec)) is not None]
        new = [pairs for n, pairs in enumerate(found) if pairs not in [*there, *found[:n]]]
        batches = _constant(before, BATCH)
        there[position:position] = new
        position += len(new)
        taken += len(found)
        left = len(best) - len(found)
        rest = f", {left} of its best can't be expressed in this space" if left else ""
        note(f"warm start: {counted(len(new), 'config')} of {folder.name} tried first{rest}")
        if found and batches is not None and batches != _constant(spec, BATCH):
            note(
                f"note: {folder.name} trained in batches of {batches:,}; here their size is "
                "that of this run's space, device and data"
            )
    if not taken:
        raise ConfigError(
            f"--warm-start: no config of {', '.join(runs)} fits the space {spec.name}"
        )
    return replace(spec, enqueue=tuple(there))


def own_first(spec: SearchSpec, own: Sequence[Pairs]) -> tuple[SearchSpec, bool]:
    """`spec` with the first of its `own` listed configs, rather than one of a warm start, as the
    first trial, and whether there is any.

    own: those of the space before a warm start. `spec` may have lost some of them, with methods
    that there is no memory for.
    """
    first = next((pairs for pairs in spec.enqueue if pairs in own), None)
    if first is None:
        return spec, False
    rest = (pairs for pairs in spec.enqueue if pairs != first)
    return replace(spec, enqueue=(first, *rest)), True


def best_trials(state: RunState) -> list[TrialRecord]:
    """The best trials of a run with different configs: as the race ranked them, then by value."""
    race = decided(state)
    ranked = [f.id for f in race.finalists] if race is not None else []
    if race is not None and race.winner not in ranked:
        ranked.insert(0, race.winner)
    chosen: list[TrialRecord] = []
    for trial in [*(state.trials[name] for name in ranked), *standing(state.in_order())]:
        if trial.params not in [t.params for t in chosen]:
            chosen.append(trial)
    return chosen[:PER_RUN]


def moved(before: SearchSpec, trial: TrialRecord, spec: SearchSpec) -> Pairs | None:
    """The parameters of `spec` that describe a trial of the space `before`; numbers are moved into
    the ranges of `spec`.

    None where the trial was trained with something that `spec` never has. Batches may be of another
    size where neither space searches for it.
    """
    flat = before.flat(trial.params)
    chosen: dict[str, Value] = {}

    def choose(param: Param) -> Value:
        value = _of(param, flat)
        if value is None:
            raise _DoesNotFitError
        chosen[param.name] = value
        return value

    try:
        walk(spec.params, choose)
    except _DoesNotFitError:
        return None
    old, new = before.train_config(trial.params).to_flat(), spec.train_config(chosen).to_flat()
    differs = {key for key in {*old, *new} if old.get(key) != new.get(key)}
    said = {*chosen, *FREE}.union(*(ALTERNATIVES.get(name, ()) for name in chosen))
    if None not in (_constant(before, BATCH), _constant(spec, BATCH)):
        said.add(BATCH)
    return None if differs - said else tuple(chosen.items())


def _constant(spec: SearchSpec, name: str) -> Value | None:
    """The value of a parameter that is the same in all configs that have it; None for any other."""
    found = (
        p.domain.value for p in spec.params if p.name == name and isinstance(p.domain, Constant)
    )
    return next(found, None)


class _DoesNotFitError(Exception):
    """A parameter of the space has no value for the config of the other space."""


def _of(param: Param, flat: Mapping[str, Value]) -> Value | None:
    """The value of a searched parameter that equals the one in `flat`, or comes closest; None where
    there is none.
    """
    domain = param.domain
    assert not isinstance(domain, Constant)
    if isinstance(domain, Bundle):
        fitting = [
            (len(pairs), name)
            for name, pairs in domain.sets
            if all(flat.get(key, DEFAULT if key == "model" else None) == v for key, v in pairs)
        ]
        # the set with the most keys: one without a score would fit any score
        return max(fitting, key=lambda found: found[0], default=(0, None))[1]
    usual = param.name in config_of(str(flat.get("model", DEFAULT))).unsaid
    value = flat.get(param.name, UNSAID[param.name] if usual else None)
    return None if value is None else domain.nearest(value)
