"""Ray Tune's control loop, mended where a worker dies while it is handed from trial to trial.

Ray 2.60 hears of such a death twice, as of the worker's and as of the call's. The first puts the
trial back in line; the second, which finds it waiting, fails it for good and leaves its place
taken, so that a search with one worker waits forever. Here the second is not counted, and the
trial is tried again like one whose worker died in training.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray.tune.tune
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial


class SturdyController(TuneController):
    """Ray's controller; only what happens on the death of a worker differs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._put_back: set[Trial] = set()
        super().__init__(*args, **kwargs)

    def _actor_failed(self, tracked_actor: Any, exception: Exception) -> None:
        trial = self._actor_to_trial[tracked_actor]
        handed_over = trial in self._resetting_trials
        # A trial that counts as being handed over is never given a worker.
        self._resetting_trials.discard(trial)
        super()._actor_failed(tracked_actor, exception)
        if handed_over:
            self._put_back.add(trial)

    def _trial_task_failure(self, trial: Trial, exception: Exception) -> None:
        if trial in self._put_back:
            self._put_back.discard(trial)
            return
        super()._trial_task_failure(trial, exception)

    def _process_trial_failure(self, trial: Trial, exception: Exception) -> None:
        self.told(trial, exception)
        super()._process_trial_failure(trial, exception)

    def save_to_dir(self) -> None:
        """What an experiment is restored from, which is never done here: nothing.

        Ray would write the state of every trial, many MB, again and again.
        """
        path = Path(self.experiment_state_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"trial_data": []}), encoding="utf-8")

    @staticmethod
    def told(trial: Trial, exception: Exception) -> None:
        """Called with each death, also with those that are followed by a new attempt."""


@contextmanager
def sturdy(told: Callable[[Trial, Exception], None]) -> Iterator[None]:
    """Within the block Tune runs with `SturdyController`; it offers no place to ask for one.

    `told` hears of every failed attempt of a trial, and why: Ray keeps it only for some.
    """
    module = ray.tune.tune
    controller = type("SturdyController", (SturdyController,), {"told": staticmethod(told)})
    original, module.TuneController = module.TuneController, controller
    try:
        yield
    finally:
        module.TuneController = original
