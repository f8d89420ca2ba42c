"""How far a search is: the state that the display shows, which events change."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from search.record.events import Reason, State, TrialEnded, stages_of
from search.record.state import TrialRecord, may_win
from search.words import duration

PIECES = 2  # needed to estimate how long one takes: in the first, workers start; it may be a rival
ENDS = (State.COMPLETE, State.PRUNED, State.FAILED)


@dataclass(eq=False)
class Shown:
    """What is shown of a trial. leaky: whether its config knows held-out items."""

    id: str
    params: Mapping[str, Any]
    leaky: bool
    epoch: int = 0
    best: float = float("-inf")

    @property
    def has_value(self) -> bool:
        """Whether an epoch has been evaluated with a value other than NaN."""
        return self.best > float("-inf")


@dataclass(eq=False)
class Progress:
    """The state of a run, as far as it is shown.

    space, data, run: names for the header (`data` and `run` may be set later). total: planned
    trials. done: trials that have ended, at first those of earlier sessions. leaky: whether the
    space itself sets `negatives_exclude: all`. clock: gives monotonic seconds. stages: of the run,
    in order. plan: in words, what a run does that is not a search.
    """

    space: str
    data: str
    total: int
    metric: str = "value"
    run: str = ""
    done: int = 0
    leaky: bool = False
    clock: Callable[[], float] = time.monotonic
    stages: tuple[str, ...] = stages_of(table=False, blend=False)
    plan: str = ""
    running: dict[str, Shown] = field(default_factory=dict)
    ended: dict[State, int] = field(default_factory=lambda: dict.fromkeys(ENDS, 0))
    recent: deque[TrialEnded] = field(default_factory=lambda: deque(maxlen=8))
    best_ended: Shown | None = None
    best_may_win: bool = False  # whether `best_ended` may; a pruned one is shown until one does
    now: str = ""  # the current stage
    part: tuple[int, int] | None = None  # done and planned pieces of a stage without trials
    part_of: str = ""  # what these are
    part_began: tuple[int, float] = (0, 0.0)  # pieces done when the stage began, and when that was
    part_at: float = 0.0  # when the last piece ended
    ends_at: float | None = None  # of a run with a time budget, by `clock`
    started: float = 0.0
    stage_started: float = 0.0

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Start the clocks of the run and of its current stage."""
        self.started = self.stage_started = self.part_at = self.clock()

    def start_trial(self, trial_id: str, params: Mapping[str, Any], leaky: bool) -> None:
        """A trial begins, or begins again from nothing, since its worker died."""
        self.running[trial_id] = Shown(trial_id, dict(params), leaky)

    def advance(self, trial_id: str, epoch: int, best: float) -> None:
        """A trial reports its last epoch, and its best value so far, which may be NaN."""
        trial = self.running.setdefault(trial_id, Shown(trial_id, {}, self.leaky))
        trial.epoch = epoch
        if best == best:  # not NaN
            trial.best = max(trial.best, best)

    def end_trial(self, end: TrialEnded) -> Shown:
        """A trial ends: take it out of the running ones; returns what was shown of it."""
        trial = self.running.pop(end.id, None) or Shown(end.id, {}, self.leaky)
        if end.value is not None and end.value == end.value:
            trial.best = end.value
        self._rank(trial, end.state, end.reason)
        self.ended[end.state] += 1
        self.done += 1
        self.recent.append(end)
        return trial

    def take_up(self, earlier: Iterable[TrialRecord]) -> None:
        """Take in the trials of earlier sessions: how many have ended, and the best of them."""
        for trial in earlier:
            if trial.finished:
                self.done += 1
                best = Shown(trial.id, trial.params, trial.leaky, trial.epochs)
                best.best = best.best if trial.value is None else trial.value
                self._rank(best, trial.state, trial.reason)

    def _rank(self, trial: Shown, state: State, reason: Reason | None) -> None:
        """Keep an ended trial if it is the best of the ended ones."""
        if state != State.FAILED and self._shows(trial):
            wins = may_win(state, reason)
            if (wins, trial.best) > (self.best_may_win, self._best_ended_value()):
                self.best_ended, self.best_may_win = trial, wins

    def ends_in(self, seconds: float) -> None:
        """The run has to end in so many seconds from now."""
        self.ends_at = self.clock() + seconds

    def enter(self, stage: str) -> None:
        """A stage begins; start its clock."""
        self.now, self.part, self.part_of = stage, None, ""
        self.stage_started = self.part_at = self.clock()

    def take(self, done: int, total: int, what: str) -> None:
        """A piece of the current stage has ended, the `done`th of `total`, or `total` pieces are to
        come. Pieces that were done before this session, or in another part of the stage, do not
        count for the time that one takes. what: names the pieces.
        """
        if self.part is None or total != self.part[1] or done <= self.part[0]:
            self.part_began = max(done - 1, 0), self.part_at
        self.part, self.part_of, self.part_at = (done, total), what, self.clock()

    def plan_parts(self, done: int, total: int, what: str) -> None:
        """The current stage has `total` pieces, of which earlier sessions did `done`. what: names
        them.
        """
        self.part, self.part_of, self.part_began = (done, total), what, (done, self.part_at)

    @property
    def best(self) -> Shown | None:
        """The best trial so far, ended or running. A failed or leaky trial never is, a pruned one
        only as long as no other has ended.

        If the space itself leaks, all trials are leaky, and are shown as such.
        """
        able = [t for t in self.running.values() if self._shows(t)]
        able += [self.best_ended] if self.best_ended is not None else []
        return max(able, key=lambda t: t.best, default=None)

    def _shows(self, trial: Shown) -> bool:
        return trial.has_value and (self.leaky or not trial.leaky)

    def _best_ended_value(self) -> float:
        return self.best_ended.best if self.best_ended is not None else float("-inf")

    def work(self) -> tuple[int, int] | None:
        """Done and planned pieces of the current stage; None where a stage is a single piece."""
        if self.part is None and self.now in ("", "search"):
            return self.done, max(self.total, self.done)
        return self.part if self.part is not None and self.part[1] > 1 else None

    def left(self) -> str:
        """How long the current stage takes yet: `about 2m 10s left` at the pace so far, `at most
        9m 20s left` where only the end of the time budget is known, or comes sooner; else empty.
        """
        by_work, by_time = self.left_by_work(), self.left_by_time()
        if by_work is not None and (by_time is None or by_work <= by_time):
            return f"about {duration(by_work)} left"
        return "" if by_time is None else f"at most {duration(by_time)} left"

    def left_by_time(self) -> float | None:
        """Seconds until the end of the time budget; None without one."""
        return None if self.ends_at is None else max(0.0, self.ends_at - self.clock())

    def left_by_work(self) -> float | None:
        """Seconds until everything planned in the current stage is done, at the pace so far; None
        if there is no pace yet, or if the current piece takes longer than those before.
        """
        if self.part is not None:
            return self._left_of_part(*self.part)
        elapsed = self.clock() - self.stage_started
        done = sum(self.ended.values())
        total = max(self.total, self.done) - (self.done - done)
        if self.now not in ("", "search") or done < 3 or total < done:
            return None
        return elapsed * (total - done) / done

    def _left_of_part(self, done: int, total: int) -> float | None:
        before, began = self.part_began
        if done == total:
            return 0.0 if total > 1 else None
        if done == before or done - before < min(PIECES, total - before - 1):
            return None
        each = (self.part_at - began) / (done - before)
        since = self.clock() - self.part_at
        return max(each * (total - done) - since, each * (total - done - 1)) or None


def why_ended(end: TrialEnded) -> str:
    """What ended a trial, in one line: of a failed one its cause."""
    return " ".join((end.cause or end.reason or "").split())
