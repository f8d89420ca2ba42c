"""The search, the first stage of a run: trials until the budget is spent."""

from __future__ import annotations

import math
import shutil
from collections import Counter

from recsys.models.base import Size
from search.propose.allocation import Terms, terms_of
from search.propose.trials import StudyTrial, from_journal
from search.record.events import Reason, State, TrialEnded, TrialMade
from search.record.planned import with_trials
from search.record.result import Searched, SearchEnd
from search.record.state import RunState, TrialRecord
from search.space.trial import TrialConfig
from search.stages.context import RunFailedError, Stages, time_until
from search.tune.checkpoints import Shelf
from search.tune.lengths import as_long_as, lengths_of
from search.tune.outcome import Report, judge
from search.tune.pace import SEARCH_SHARE, Pace, search_seconds
from search.tune.probe import measure
from search.tune.sampling import watched_users
from search.tune.scheduler import make_scheduler
from search.tune.searcher import StudySearch
from search.tune.settled import Settling
from search.tune.tuner import HARD_STOP_GRACE_S, Recorder, Watch, run_trials
from search.words import counted

FAIL_AFTER = 5
GRACE_SHARE = 0.1  # of the time budget, where that is less than `HARD_STOP_GRACE_S`


def search_end(stopped: Reason | None, exhausted: bool, settled: bool = False) -> SearchEnd:
    """Why the search ended: what stopped it, if anything did, or whether it ran out of configs."""
    match stopped:
        case None if settled:
            return SearchEnd.SETTLED
        case None:
            return SearchEnd.SPACE if exhausted else SearchEnd.TRIALS
        case Reason.TIME:
            return SearchEnd.TIME
        case _:
            raise AssertionError(stopped)  # with any other reason the run failed


def ended_well(state: RunState) -> bool:
    """Whether a trial has reached a value in an earlier session."""
    return any(trial.finished and trial.value is not None for trial in state.trials.values())


def grace_of(run: Stages, ended: Counter[State]) -> float:
    """How long trials that cannot be interrupted may go on after the end of the search, in seconds.

    ended: how many trials of this session ended in each state. Where nothing else is there to hand
    over, a trial that is late is better than none.
    """
    budget = run.settings.time_budget
    found = ended[State.COMPLETE] + ended[State.PRUNED] > 0 or ended_well(run.state)
    if budget is None or not found:
        return HARD_STOP_GRACE_S
    return min(HARD_STOP_GRACE_S, GRACE_SHARE * budget)


def search(run: Stages) -> Searched:
    """Run trials until the budget is spent.

    Raises RunFailedError where no trial finished, the first ones all failed, or no worker starts.
    """
    spec = run.spec
    decide_pace(run)
    state, pace = run.state, run.pace
    known, settling = _known(run), _settling(run)
    # Reached before a resume: the trials that still ran come to their end, as they would have.
    settled = settling is not None and settling.reached
    planned = len(known) if settled else spec.trials
    shelf = Shelf(run.folder.checkpoints, run.cluster.fetch, run.cluster.store, run.display.note)
    searcher = StudySearch(
        spec,
        known,
        seed=run.settings.seed,
        budget=planned,
        on_new=lambda trial: _journal_trial(run, trial),
        where=str(run.folder.path),
        lengths=lengths_of(spec, pace, Size.of(run.split.train)),
        terms=_terms(run, pace),
        handed=shelf.handed,
        fit=run.fit,
    )
    scheduler = make_scheduler(spec, paced=pace is not None)
    for trial, told in zip(state.in_order(), known, strict=True):
        if trial.number < state.paced_from:
            continue  # of other lengths: the like parts of these cannot be compared
        # The last report of a trial that has not ended is left out: it is not known what was
        # decided on it, and the trial may have been about to be stopped.
        steps = told.steps if trial.finished else told.steps[:-1]
        scheduler.replay(trial.id, steps, trial.training, trial.params)
    ended: Counter[State] = Counter()
    watch = Watch(lambda: search_deadline(run), searcher.finish, lambda: grace_of(run, ended))
    recorder = Recorder(
        run.journal,
        run.display,
        watch,
        tuple(run.metrics),
        None if ended_well(state) else FAIL_AFTER,
        run.cluster.patience("trial"),
        run.cluster.lost,
        settling,
        run.reserve,
        shelf,
        scheduler.ends_for,
        gpus=run.gpus,
        ended=ended,
    )
    watch.settled = settled
    todo = planned - sum(t.finished for t in state.trials.values())
    if todo > 0:
        with shelf:
            run_trials(
                run.resources,
                run.trial_data,
                searcher,
                scheduler,
                todo,
                recorder,
                run.settings.storage or run.folder.ray,
                run.folder.name,
                run.slots,
                run.cluster.watch,
            )
    if run.settings.storage is None:  # with what a killed session has left there
        shutil.rmtree(run.folder.ray, ignore_errors=True)  # nothing reads Tune's records
    run.refresh()
    if watch.stuck is not None:
        raise RunFailedError(watch.stuck)
    if searcher.exhausted:
        run.display.note(
            f"{counted(len(run.state.trials), 'trial')} made: the space has no untried config left"
        )
    end_leftovers(run, watch.reason)
    shelf.clear()
    run.write_study()
    counts = run.state.counts()
    if watch.reason == Reason.FAILURES:
        cause, times = recorder.causes.most_common(1)[0]
        raise RunFailedError(
            f"the first {recorder.ended.total()} trials all failed, {times} of them "
            f"with: {cause} (tracebacks in {run.folder.path / 'trials.csv'})"
        )
    if counts[State.COMPLETE] == 0 and counts[State.PRUNED] == 0:
        why = recorder.causes.most_common(1)
        words = f", {why[0][1]} of them with: {why[0][0]}" if why else ""
        raise RunFailedError(f"no trial finished, {counts[State.FAILED]} failed{words}")
    if watch.settled and watch.reason is None and settling is not None:
        run.display.note(settling.words())
    end = search_end(watch.reason, searcher.exhausted, watch.settled)
    return Searched(stopped_by=end, planned=spec.trials, **counts)


def decide_pace(run: Stages) -> None:
    """Before the first trial of a run, or of its extension: say what a trial costs, and fit its
    length to the time budget.

    Trials of an extension are validated on the same users as those before, so that their values can
    be compared.
    """
    state = run.state
    todo = run.spec.trials - sum(trial.finished for trial in state.trials.values())
    if not state.to_pace or todo <= 0:
        return
    before, budget = state.pace, time_left(run)
    if before is not None and budget is None:
        run.display.note(
            "note: new trials are as long as the earlier time budget made trials; --time-budget "
            "with --extend decides their length anew"
        )
        return
    spec, again = with_trials(run.spec, todo), before is not None
    cost = measure(run.cluster, run.resources, spec, run.data, budget, asked=again)
    if cost is None:
        return
    run.display.note(cost.words())
    if spec.is_table:
        return
    evaluated = None
    if state.trials:
        evaluated = cost.users if before is None or before.users is None else before.users
    pace = cost.pace(evaluated)
    if pace is None:
        if before is None:
            return
        pace = cost.at_full_length(evaluated or cost.users)
    for line in cost.pace_words(pace):
        run.display.note(line)
    if state.trials:
        run.display.note("they are judged beside one another, not beside the earlier trials")
    run.journal.append(pace.to_event(), sync=True)
    run.refresh()


def _known(run: Stages) -> list[StudyTrial]:
    """The trials so far as the searcher knows them: those from before the pace as what they say of
    trials of the length that their configs would have now.
    """
    pace, state = run.pace, run.state
    if pace is None or not state.paced_from:
        return run.known()

    def now(trial: TrialRecord, told: StudyTrial) -> StudyTrial:
        if trial.number >= state.paced_from:
            return told
        fitted = pace.fit(run.spec.train_config(trial.params))
        return as_long_as(told, trial.training.most_epochs, fitted.most_epochs)

    return [now(*both) for both in zip(state.in_order(), run.known(), strict=True)]


def time_left(run: Stages) -> float | None:
    """Seconds of the time budget that are left; None without one. A driver that has started itself
    again has less than the whole, perhaps nothing: then a second.
    """
    left = time_until(run.deadline)
    return None if left is None else max(1.0, left)


def _terms(run: Stages, pace: Pace | None) -> Terms:
    """How trials are dealt out among the methods of a space."""
    budget = run.settings.time_budget
    if pace is None or budget is None:
        return terms_of(run.spec)
    return pace.terms(run.spec, search_seconds(budget, run.resources.concurrent))


def _settling(run: Stages) -> Settling | None:
    """What follows the trials of a search that decides itself when to end; None for any other."""
    if not run.settings.settles:
        return None
    users = watched_users(run.split.train, run.split.valid)  # the race is on all of them
    return Settling.of(run.state.in_order(), users, run.spec.race.replicates)


def _journal_trial(run: Stages, trial: TrialConfig) -> None:
    run.journal.append(
        TrialMade(
            id=trial.id,
            number=trial.number,
            params=trial.params,
            config=trial.train.to_flat(),
            seed=trial.seed,
        )
    )


def search_deadline(run: Stages) -> float:
    """When the search has to end, by `time.monotonic`, for the rest to fit into the time budget.

    The later stages get as much of it as they need, at most what `SEARCH_SHARE` leaves.
    """
    budget = run.settings.time_budget
    if run.deadline is None or budget is None:
        return math.inf
    return run.deadline - min(run.reserve.seconds(), (1 - SEARCH_SHARE) * budget)


def end_leftovers(run: Stages, reason: Reason | None) -> None:
    """Record trials that the hard end of a time budget has cut off as pruned, in every record."""
    left = [t for t in run.state.in_order() if not t.finished]
    for trial in left:
        steps = from_journal(trial, run.spec.metric).steps
        value = steps[-1][1] if steps else None
        best_epoch = next((epoch for epoch, best in steps if best == value), None)
        last = Report(trial.epochs, value, best_epoch) if trial.epochs else None
        how = judge(last, reason)
        end = TrialEnded(
            id=trial.id,
            state=how.state,
            reason=how.reason,
            value=how.value,
            best_epoch=best_epoch,
            epochs=trial.epochs,
            busy_s=trial.busy_s,
            cause=how.cause,
        )
        run.journal.append(end, sync=True)
    if left:
        run.refresh()
