"""What a refit leaves: a run folder like that of a search, whose journal has the decision that was
kept and the run that it comes from.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from recsys.metrics import PER_USER, parse_metric
from search.record.compared import comparison
from search.record.events import (
    EpochRow,
    EpochsReported,
    Event,
    Reason,
    RivalChosen,
    SessionEnded,
    StageMarked,
    StageState,
    State,
    Status,
    TrialBegan,
    TrialEnded,
    TrialMade,
)
from search.record.folder import JOURNAL, PROVENANCE, RunFolder
from search.record.handed import MODEL, model_digest
from search.record.journal import line_of
from search.record.measured import UserValues, save_test_values
from search.record.provenance import Provenance, provenance
from search.record.result import (
    Blended,
    BlendTested,
    Decided,
    Groups,
    RefitOf,
    Refitted,
    ResultPart,
    RunResult,
    Searched,
    SearchEnd,
    Tested,
    read_result,
    refit_of,
    write_result,
)
from search.record.state import RunState
from search.run.again import Again, Trained
from search.run.session import facts, first_line
from search.space.kept import SPEC
from search.stages.groups import groups
from search.stages.handover import hand_over
from search.stages.result import of_refit, told
from search.stages.rivals import RivalOnTest
from search.stats import bootstrap_interval, compare_paired, holm
from search.tracking.wanted import model_name
from search.words import baseline_name

WHO = "the model of the new data"


def record(folder: RunFolder, work: Again, done: Trained) -> None:
    """Write the run; its folder is removed if that fails."""
    try:
        _record(folder, work, done)
    except BaseException:
        if not folder.has_begun():
            shutil.rmtree(folder.path, ignore_errors=True)
        raise


def _record(folder: RunFolder, work: Again, done: Trained) -> None:
    of, tested = _of(work, done), _tested(work, done)
    spec, separator = work.origin.spec, work.settings.submission_sep
    known = facts(work.dataset, work.settings, work.split).model_copy(update={"refit_of": of})
    folder.write(SPEC, spec.to_yaml())
    folder.write_json(PROVENANCE, provenance(Provenance(), known).plain())
    rows, handed = hand_over(
        folder.path,
        done.model,
        done.config,
        done.model.to_bytes(),
        work.dataset,
        work.split.full(),
        trial=work.origin.race.winner,
        k=spec.k,
        separator=separator,
    )
    if done.test is not None and spec.metric in done.test.per_user:
        values = UserValues(done.test.users, done.test.per_user[spec.metric])
        save_test_values(folder.path, values, work.split.test)
    refitted = Refitted(
        rows=rows,
        k=spec.k,
        separator=separator,
        epochs=work.origin.race.epochs,
        seconds=done.seconds,
        handed=handed,
        of=of,
    )
    events = list(_events(folder.name, work, done, tested, refitted))
    write_result(folder, _result(folder.name, work, done, events))
    folder.write(JOURNAL, b"".join(map(line_of, events)))


def _of(work: Again, done: Trained) -> RefitOf:
    """The run that the model comes from, and how both models compare on the items held out now."""
    origin, metric = work.origin, work.origin.spec.metric
    found = before = None
    if parse_metric(metric).kind in PER_USER:
        rng = np.random.default_rng([work.settings.seed, 9])
        mine = (done.test or done.validation).per_user[metric]
        before = done.earlier.values[metric]
        part = "validation" if done.test is None else "test"
        found = comparison(
            origin.folder.name,
            compare_paired(mine, done.earlier.per_user[metric], rng),
            f"the same config trained on the data of {origin.folder.name} on the {part} items",
            WHO,
        )
    result = read_result(origin.folder.path)
    return RefitOf(
        run=origin.folder.name,
        uid=origin.state.uid,
        model=model_name(origin.state),
        weights=model_digest(origin.folder.path / MODEL) or "",
        data=origin.state.run.dataset or "",
        valid=None if result is None else result.valid,
        comparison=found,
        before=before,
        blend_failed=work.blend_failed,
    )


def _tested(work: Again, done: Trained) -> Tested:
    """The test as its stage would have left it."""
    baselines = {name: one.told for name, one in done.rivals.items()}
    if done.test is None:
        return Tested(skipped="the split holds out no test items", baselines=baselines)
    values = done.test.per_user.get(work.origin.spec.metric)
    rng = np.random.default_rng([work.settings.seed, 8])
    ci = None if values is None else bootstrap_interval(values, rng)
    blend = None
    if work.origin.blend is not None and ci is not None:
        blend = BlendTested(values=done.test.values, ci=ci, comparisons=())
    beside = _on_test(done)
    compared = (
        {}
        if values is None
        else {n: compare_paired(values, one.per_user, rng) for n, one in beside.items()}
    )
    return Tested(
        values=done.test.values,
        ci=ci,
        users=len(done.test.users),
        comparisons=tuple(
            comparison(name, c, f"{baseline_name(name)} on the test items", WHO)
            for name, c in holm(compared).items()
        ),
        baselines=baselines,
        blend=blend,
        seconds=0.0,
        groups=None if values is None else _groups(work, done),
    )


def _on_test(done: Trained) -> dict[str, RivalOnTest]:
    """The rivals that were tested, by name."""
    return {n: one.on_test for n, one in done.rivals.items() if one.on_test is not None}


def _groups(work: Again, done: Trained) -> Groups | None:
    """How the model serves groups of users and items, beside the model of the earlier data."""
    test = work.split.test
    if test is None or done.test is None:
        return None
    origin = work.origin
    return groups(
        "winner" if origin.blend is None else "blend",
        origin.spec.metric,
        done.test,
        {origin.folder.name: done.earlier}
        | {name: one.found for name, one in _on_test(done).items()},
        work.split.search_data(),
        test,
    )


def _result(name: str, work: Again, done: Trained, events: Iterable[Event]) -> RunResult:
    """The result: what the journal will say, and values that it does not have."""
    state = RunState()
    for event in events:
        state.apply(event, 0)
    found = told(state, name, work.origin.spec, work.settings)
    of = refit_of(state)
    assert of is not None
    more = {
        **of_refit(of, found.test_comparisons),
        "valid": done.validation.values[work.origin.spec.metric],  # no trial has that of a blend
        "test_reads": work.test_reads,
        "wall_s": time.time() - work.began,
    }
    return found.model_copy(update=more)


def _events(
    name: str, work: Again, done: Trained, tested: Tested, refitted: Refitted
) -> Iterator[Event]:
    """The events of the journal: what was kept of the search, and what was made of it."""
    origin, spec = work.origin, work.origin.spec
    began = first_line(name, spec, work.settings, work.dataset, work.split)
    yield replace(began, time=work.began)
    yield from _trials(work, done)
    for rival, one in done.rivals.items():
        metrics = {key: value for key, value in (one.told.valid or {}).items() if value is not None}
        yield RivalChosen(name=rival, config=one.config.to_flat(), metrics=metrics)
    stages: list[tuple[str, ResultPart]] = [
        ("search", Searched(stopped_by=SearchEnd.TRIALS, planned=len(origin.trials))),
        ("race", Decided(winner=origin.race.winner, epochs=origin.race.epochs)),
    ]
    if origin.blend is not None:
        stages.append(("blend", Blended(members=origin.blend.members, handed_over=True)))
    for stage, data in [*stages, ("test", tested), ("refit", refitted)]:
        yield StageMarked(name=stage, state=StageState.START)
        yield StageMarked(name=stage, state=StageState.DONE, data=data.plain())
    yield SessionEnded(status=Status.DONE)


def _trials(work: Again, done: Trained) -> Iterator[Event]:
    """The trials that were trained again, under their own ids: a single winner with its value on
    the new validation items, or the members of a blend, without values.
    """
    origin, metric = work.origin, work.origin.spec.metric
    epochs = {origin.race.winner: origin.race.epochs}
    epochs |= {one.id: one.epochs for one in (origin.blend.members if origin.blend else ())}
    for trial in origin.trials:
        yield TrialMade(
            id=trial.id,
            number=trial.number,
            params=trial.params,
            config=trial.config,
            seed=trial.seed,
        )
        yield TrialBegan(id=trial.id, attempt=1)
        if origin.blend is None:
            values = done.validation.values
            row = EpochRow(epochs[trial.id], None, tuple(values.values()), done.seconds, 0.0)
            yield EpochsReported.of(trial.id, 1, values, [row])
        yield TrialEnded(
            id=trial.id,
            state=State.COMPLETE,
            reason=Reason.EPOCHS,
            value=done.validation.values[metric] if origin.blend is None else None,
            best_epoch=epochs[trial.id],
            epochs=epochs[trial.id],
            busy_s=done.seconds if origin.blend is None else 0.0,
        )
