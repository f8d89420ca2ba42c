"""The next config of a space: where a Gaussian process expects most.

The values of a trial are known at the rungs that it reached and at its end (`gaussian`). Of many
configs, the one with the highest expected improvement (Jones, Schonlau and Welch, 1998) is taken,
divided by the square root of what its training costs, so that the cheaper of two equally promising
ones wins. Improvement counts from the best expected value, not from the best measured one, which
owes something to luck. Trials that still run, and those that were stopped, count as if they had
reached the expected value: nothing new can be learned from another trial near one of them.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from operator import itemgetter
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from recsys.models import ModelConfig
from search.propose.lengths import Lengths
from search.propose.new_configs import Known, another
from search.propose.surrogate.cube import Cube, Rows
from search.propose.surrogate.gaussian import GaussianProcess, Seen, Values, likely
from search.propose.trials import StudyTrial, best_and_even, in_order_of_ends
from search.record.events import State
from search.space.domains import Value
from search.space.spec import SearchSpec

Cost = Callable[[ModelConfig], float]
_Point: TypeAlias = tuple[int, float, float, Values]

LEARNED_FROM, FITTED_ON = 300, 100  # observations for a process, and for its lengths and variances
BEST_PART = 1 / 3  # of those, where there are more: the best ones; the others are spread evenly
SUPPOSED, STOPPED = 64, 150  # at most so many running and stopped trials count, the latest ones
EVEN, NEAR, TOPS, WIDTH = 700, 300, 10, 0.15  # configs looked at: anywhere, near the best so far
ROUNDS, ROUND = (0.1, 0.05, 0.02), 120  # then near the most promising ones, closer and closer
# Where more run, a proposal looks at 1/FEWER as many configs and a process serves SERVES proposals.
# From CROWD running trials on, so many end that each proposal must cost less: a process then serves
# a fixed part of those that run, and the configs looked at shrink with the root of their number.
FEWER, SERVES, CROWD = 4, 8, 256
FLOOR = -2.0  # no value counts as lower than this, with the median at 0 and the best value at 1
REFIT = 1.04  # lengths and variances are found anew when the trials have grown by this factor
TRIED = 50  # promising configs to try until one is not known
COST_PART = 0.5  # the power of the cost by which an improvement is divided
PRICED = 200  # configs of a space, drawn at random, from which costs are learned


@dataclass
class _Trial:
    """A trial: its row (width,), the epochs of its whole training, those after which it is judged,
    and its best values so far: `kept` by epoch where it was judged, and the last one.
    """

    row: Values
    longest: int
    judged: list[int]
    kept: dict[int, float] = field(default_factory=dict)
    last: tuple[int, float] | None = None

    def report(self, epoch: int, value: float) -> None:
        if epoch in self.judged:
            self.kept[epoch] = value
        self.last = (epoch, value)

    def running(self) -> dict[float, float]:
        """Its best values so far where it was judged, by the part of the training done."""
        return {part_done(epoch, self.longest): value for epoch, value in self.kept.items()}

    def stopped(self) -> dict[float, float]:
        """The same, with the value it had reached when it was stopped."""
        last = {} if self.last is None else {part_done(self.last[0], self.longest): self.last[1]}
        return self.running() | last

    def complete(self, value: float) -> dict[float, float]:
        """The same for a completed trial that reached `value`, however early it ended."""
        last = 0 if self.last is None else self.last[0]
        before = {e: v for e, v in self.kept.items() if e != last}
        return {part_done(epoch, self.longest): v for epoch, v in before.items()} | {1.0: value}


@dataclass(frozen=True, eq=False)
class _View:
    """A process, the best value that it expects of any config seen, and the rows (TOPS, width) of
    the best configs so far.
    """

    process: GaussianProcess
    best: float
    tops: Rows


def part_done(epoch: int, longest: int) -> float:
    """How much of a training is done: 1 at its end, and less by equal steps as `epoch` halves."""
    return 1.0 + math.log(min(epoch / longest, 1.0)) / SCALE


SCALE = math.log(80)  # so that `part_done` is 0 after 1/80 of a training


class Surrogate:
    """The trials of a space, and what proposes the next one from them.

    spec: the space. startup: random trials before anything is learned. lengths: of trials.
    """

    def __init__(self, spec: SearchSpec, startup: int, lengths: Lengths) -> None:
        self._spec, self._startup, self._lengths = spec, startup, lengths
        self._cube = Cube(spec)
        self._running: dict[int, _Trial] = {}
        # The observations in order, each with the number of its trial, the part of the training
        # done, its value (NaN: the trial failed), and its row.
        self._points: list[_Point] = []
        # Numbers of trials in the order in which they ended, and numbers and rows, by number, of
        # those that were stopped before their end.
        self._ended: list[int] = []
        self._stopped: list[tuple[int, Values]] = []
        self._kept: _View | None = None  # used again `_kept_for` times where many trials run
        self._kept_for = 0
        self._logs: tuple[int, Values] | None = None  # and how many trials had ended by then

    def add_all(self, trials: Iterable[StudyTrial]) -> None:
        """Take in ended trials of earlier sessions, as they ended one after the other."""
        for trial in in_order_of_ends(t for t in trials if t.state != State.RUNNING):
            self.begin(trial.number, trial.params)
            for epoch, value in trial.steps:
                self.report(trial.number, epoch, value)
            self.tell(trial.number, trial.state, trial.value, trial.error)

    def begin(self, number: int, params: Mapping[str, Value]) -> None:
        """Trial `number`, with these parameters, starts to run."""
        config = self._spec.train_config(params)
        config = config if self._lengths.fit is None else self._lengths.fit(config)
        row = self._cube.rows([params])[0]
        self._running[number] = _Trial(row, config.most_epochs or 1, self._lengths.judged(config))

    def report(self, number: int, step: int, value: float) -> None:
        """A running trial reported its best value so far, after `step` epochs."""
        self._running[number].report(step, value)

    def tell(self, number: int, state: State, value: float | None, cause: str | None) -> None:  # noqa: ARG002
        """A running trial ended in `state`, with its best `value`."""
        trial = self._running.pop(number)
        self._ended.append(number)
        if state == State.FAILED:
            insort(self._points, (number, 1.0, math.nan, trial.row), key=_place)
            return
        if state == State.COMPLETE and value is not None:
            seen = trial.complete(value)
        else:
            seen = trial.stopped()
            insort(self._stopped, (number, trial.row), key=itemgetter(0))
            del self._stopped[: -2 * STOPPED]
        for part, reached in seen.items():
            insort(self._points, (number, part, reached, trial.row), key=_place)

    def propose(self, seed: int, number: int, known: Known) -> dict[str, Value]:
        """The parameters of trial `number`, not yet `known`; it counts as running from now on.

        seed: the run's. Raises NoNewConfigError where every config is known. The same seed, number
        and trials, ended in the same order, give the same config, whatever sessions made the
        trials, unless more than SUPPOSED trials run at once.
        """
        rng = np.random.default_rng([seed, number])
        params = None
        if len(self._ended) >= self._startup and self._cube.width:
            params = self._promising(rng, known)
        if params is None:
            drawn = (self._spec.sample(rng) for _ in range(TRIED))
            params = next((one for one in drawn if not known(one)), None)
        if params is None:
            params = another(self._spec, seed, number, known)
        self.begin(number, params)
        return params

    def _promising(self, rng: np.random.Generator, known: Known) -> dict[str, Value] | None:
        """The most promising config that is not known; None where none was found."""
        view = self._view()
        if view is None:
            return None
        fewer = round(FEWER * math.sqrt(self._crowding)) if self._crowded else 1
        even = self._cube.draw(EVEN // fewer, rng)
        rows = np.vstack([even, self._cube.near(view.tops, NEAR // fewer, WIDTH, rng)])
        worth = self._worth(view, rows)
        for width in ROUNDS:
            first = rows[np.argsort(-worth, kind="stable")[:TOPS]]
            closer = self._cube.near(first, ROUND // fewer, width, rng)
            rows = np.vstack([rows, closer])
            worth = np.concatenate([worth, self._worth(view, closer)])
        for place in np.argsort(-worth, kind="stable")[:TRIED]:
            params = self._cube.config(rows[place])
            if not known(params):
                return params
        return None

    @property
    def _crowded(self) -> bool:
        """Whether so many trials run that proposals must be fast."""
        return len(self._running) > SUPPOSED

    @property
    def _crowding(self) -> float:
        """By how much more than CROWD trials run, at least 1."""
        return max(1.0, len(self._running) / CROWD)

    def _view(self) -> _View | None:
        """What the next proposals are made from; None where nothing was observed."""
        if self._crowded and self._kept is not None and self._kept_for > 0:
            self._kept_for -= 1
            return self._kept
        seen = self._seen()
        if not len(seen):
            return None
        process = GaussianProcess(seen, self._likely())
        best = float(process.at_end(np.unique(seen.rows, axis=0))[0].max())
        supposed = [row for _, row in self._stopped[-STOPPED:]]
        supposed += [trial.row for _, trial in sorted(self._running.items())][-SUPPOSED:]
        if supposed:
            process = process.supposing(np.array(supposed))
        tops = best_rows(seen, TOPS)
        self._kept, self._kept_for = _View(process, best, tops), round(SERVES * self._crowding) - 1
        return self._kept

    def _worth(self, view: _View, rows: Rows) -> Values:
        """Logarithms (n,) of the expected improvement, divided by the root of the cost."""
        gain = improvement(view.process, rows, view.best)
        return gain if self._costs is None else gain - COST_PART * self._costs.logs(rows)

    @cached_property
    def _costs(self) -> Costs | None:
        cost = self._lengths.cost
        return None if cost is None else Costs(self._spec, self._cube, cost)

    def _seen(self) -> Seen:
        """The observations to learn from, with scaled values; some of them if there are many."""
        points = self._points.copy()
        for number, trial in self._running.items():
            for part, value in trial.running().items():
                insort(points, (number, part, value, trial.row), key=_place)
        return self._scaled(points, LEARNED_FROM)

    def _scaled(self, points: list[_Point], most: int) -> Seen:
        values = np.array([value for _, _, value, _ in points])
        chosen = spread(np.where(np.isnan(values), -math.inf, values), most)
        return Seen(
            np.array([points[n][3] for n in chosen]).reshape(len(chosen), self._cube.width),
            np.array([points[n][1] for n in chosen]),
            scaled(values[chosen]),
        )

    def _likely(self) -> Values:
        """Lengths and variances, found anew when ended trials have grown by the factor REFIT.

        They are found from the `refitted_at` trials that ended first, whatever their numbers: these
        stay the same while others end, so that a resume finds the same, and a trial that runs for
        long keeps nobody waiting.
        """
        count = refitted_at(len(self._ended))
        if self._logs is None or count != self._logs[0]:
            first = set(self._ended[:count])
            points = [point for point in self._points if point[0] in first] or self._points
            self._logs = (count, likely(self._scaled(points, FITTED_ON)))
        return self._logs[1]


def best_rows(seen: Seen, most: int) -> Rows:
    """The rows (at most `most`, width) of different configs with the best values, best first. A
    config has a value for each rung that it reached.
    """
    rows = seen.rows[np.argsort(-seen.values, kind="stable")]
    first = np.unique(rows, axis=0, return_index=True)[1]
    best: Rows = rows[np.sort(first)[:most]]
    return best


def refitted_at(ended: int) -> int:
    """The last refit at or before `ended` trials: refits are at 1 and at counts that each grow by
    the factor REFIT, by at least 1.
    """
    count = 1
    while (following := max(count + 1, math.ceil(REFIT * count))) <= ended:
        count = following
    return count


def _place(point: _Point) -> tuple[int, float]:
    return point[:2]


def scaled(values: Values) -> Values:
    """The values (n,) as numbers with mean 0 and variance 1; zeros where all are equal.

    Before that they are put on a scale on which the median is 0 and the best value 1 (or the worst
    -1, where half of them are as good as the best). On it nothing is below FLOOR, which failed
    trials (NaN) get.
    """
    known = values[~np.isnan(values)]
    if not len(known):
        return np.zeros(len(values))
    middle = float(np.median(known))
    way = float(known.max()) - middle or middle - float(known.min())
    if way <= 0:
        return np.where(np.isnan(values), -1.0, 0.0)
    placed = np.maximum(np.where(np.isnan(values), -math.inf, (values - middle) / way), FLOOR)
    return (placed - placed.mean()) / (placed.std() or 1.0)


def spread(values: Values, most: int) -> NDArray[np.intp]:
    """The places, ascending, of at most `most` of the values: BEST_PART of them the best values,
    the others spread evenly over the rest.
    """
    if len(values) <= most:
        return np.arange(len(values))
    return best_and_even(np.argsort(-values, kind="stable"), most, round(BEST_PART * most))


def improvement(process: GaussianProcess, rows: Rows, best: float) -> Values:
    """Logarithms (n,) of how far the ends of configs (n, width) are expected to be above `best`,
    times the part of their uncertainty that a training there would remove.
    """
    mean, spread_ = process.at_end(rows)
    above = (mean - best) / spread_
    # log(u Phi(u) + phi(u)); far below, where both cancel, about phi(u) / (u^2 + 3)
    log_density = -0.5 * above**2 - 0.5 * math.log(2 * math.pi)
    inside = np.maximum(above, -5.0)
    plain = inside * np.exp(log_ndtr(inside)) + np.exp(-0.5 * inside**2) / math.sqrt(2 * math.pi)
    far = log_density - np.log(above**2 + 3)
    value: Values = np.log(spread_) + np.where(above > -5.0, np.log(plain), far)
    # 1 - noise / root, where root^2 = noise^2 + spread^2, without cancellation
    noise = math.sqrt(process.noise)
    root = np.sqrt(process.noise + np.square(spread_))
    removed: Values = 2 * np.log(spread_) - np.log(root) - np.log(root + noise)
    return value + removed


class Costs:
    """What the configs of a cube cost: a second-order polynomial of their rows, in logarithms.

    It is learned once, from configs drawn at random, since the improvement is asked for thousands
    of rows, and building a config takes far longer than a row.
    """

    def __init__(self, spec: SearchSpec, cube: Cube, cost: Cost) -> None:
        rng = np.random.default_rng(0)
        configs = [spec.sample(rng) for _ in range(PRICED)]
        costs = np.array([cost(spec.train_config(config)) for config in configs])
        terms = _terms(cube.rows(configs))
        self._weights = np.linalg.lstsq(terms, np.log(costs), rcond=1e-9)[0]

    def logs(self, rows: Rows) -> Values:
        """Logarithms of the costs (n,) of rows (n, width)."""
        logs: Values = _terms(rows) @ self._weights
        return logs


def _terms(rows: Rows) -> Rows:
    first, second = np.triu_indices(rows.shape[1])
    return np.hstack([np.ones((len(rows), 1)), rows, rows[:, first] * rows[:, second]])
