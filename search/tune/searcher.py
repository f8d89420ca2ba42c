"""Our searcher for Ray Tune: what Optuna is told is what happened.

Ray 2.60's own tells Optuna that a trial which ASHA stopped is COMPLETE with its last value. Here
it is PRUNED with its intermediate values, a failed one is FAIL with its error, and a complete
one has its best value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from search.record.events import State
from search.space.domains import Value
from search.space.spec import SearchSpec
from search.space.trial import TrialConfig, trial_id
from search.tune import study as studies
from search.tune.outcome import OBJECTIVE, judge

OnNew = Callable[[int, dict[str, Value]], None]


class StudySearch(OptunaSearch):
    """Hands out the trials of a run, in order of their numbers, and keeps the Optuna study.

    A suggestion is the config of a trial: `id` ("t0007"), `number`, `params` (the active
    parameters of the space), `train` (flat, of TrainConfig), `seed`.

    First come the trials that the study file says are running: a resumed run has them rebuilt
    from its journal (`study.rebuild`). Then `enqueue`, then the space's searcher, until the run
    has `budget` trials in all. `on_new(number, params)` is called with each new trial before
    anyone can run it, so that the journal knows it first.

    No config is handed out twice, since the second training would be the first again. Where none
    is left the search is over, and `exhausted` says so.
    """

    def __init__(
        self,
        spec: SearchSpec,
        path: Path,
        *,
        seed: int,
        budget: int | None = None,
        on_new: OnNew | None = None,
        name: str | None = None,
    ) -> None:
        self.spec = spec
        self.path = Path(path).resolve()
        self.seed = seed
        self.budget = spec.trials if budget is None else budget
        self.on_new = on_new
        self.name = name or studies.study_name(self.path)
        self.exhausted = False
        self._open: bool = True
        self._pausing: bool = False
        self._last_step: dict[str, int] = {}
        super().__init__(mode="max", metric=OBJECTIVE)
        self._connect()

    def _connect(self) -> None:
        studies.quiet()
        self._space = partial(studies.suggest, self.spec)
        self._ot_study = studies.connect(self.path, self.name)
        self._again = studies.unfinished(self._ot_study)
        self._count = len(self._ot_study.get_trials(deepcopy=False))
        self._keys = studies.keys(self._ot_study, self.spec)
        self._fixed = studies.fixed_configs(self.spec)

    @property
    def study(self) -> Any:
        """The Optuna study."""
        return self._ot_study

    def next_id(self) -> str:
        """The id of the trial that the next `suggest` hands out."""
        return trial_id(self._again[0].number if self._again else self._count)

    def finish(self) -> None:
        """No new trials; those that run end as they may."""
        self._open = False

    def pause(self) -> None:
        """No new trials; those that have not ended by themselves stay RUNNING in the study."""
        self.finish()
        self._pausing = True

    # --- Ray's interface --------------------------------------------------------------------

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The config of the next trial, or Searcher.FINISHED."""
        if not self._open:
            return Searcher.FINISHED
        again = bool(self._again)
        if again:
            trial = studies.restart(self._ot_study, self._again.pop(0))
            params = studies.suggest(self.spec, trial)
        else:
            if self._count >= self.budget:
                return Searcher.FINISHED
            fixed = next((params for params in self._fixed if not self._had(params)), None)
            if fixed is None and self.spec.searcher == "grid":
                return self._through()
            try:
                trial, params = studies.start(
                    self._ot_study, self.spec, self.seed, self._count, fixed, self._had
                )
            except studies.NoNewConfigError:
                return self._through()
            self._count += 1
        self._keys.add(self._key(params))
        self._ot_trials[trial_id] = trial
        if not again and self.on_new is not None:
            self.on_new(trial.number, dict(params))
        return self._config(trial.number, params)

    def _through(self) -> str:
        """Nothing is left to try."""
        self.exhausted = True
        self.finish()
        return str(Searcher.FINISHED)

    def _key(self, params: Mapping[str, Value]) -> str:
        return self.spec.train_config(params).key()

    def _had(self, params: Mapping[str, Value]) -> bool:
        return self._key(params) in self._keys

    def _config(self, number: int, params: dict[str, Value]) -> dict[str, Any]:
        config = TrialConfig.of(self.spec, params, self.seed)
        return {
            "id": trial_id(number),
            "number": number,
            "params": params,
            "train": config.train.to_flat(),
            "seed": config.seed,
        }

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Keep an intermediate value: the best so far at an epoch."""
        if trial_id in self._ot_trials and trial_id not in self._completed_trials:
            self._keep(trial_id, result)

    def _keep(self, trial_id: str, result: dict[str, Any]) -> None:
        step, value = result.get("epoch", 0), result.get(OBJECTIVE)
        if value is None or not math.isfinite(value):
            return
        # A trial whose worker died runs again from its first epoch: those are known already.
        if step > self._last_step.get(trial_id, 0):
            self._last_step[trial_id] = step
            self._ot_trials[trial_id].report(float(value), int(step))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell Optuna how a trial ended. One that never reported has not ended: it runs again."""
        trial = self._ot_trials.get(trial_id)
        if trial is None or trial_id in self._completed_trials or (not result and not error):
            return
        end = judge(result, death="the trial's process died" if error else None)
        if end.state == State.PRUNED and self._pausing:
            return
        if end.state != State.FAILED:
            # Ray does not pass on the report on which a trial was stopped.
            self._keep(trial_id, result or {})
        self._completed_trials.add(trial_id)
        studies.tell(self._ot_study, trial, end.state, end.value, end.cause)

    # --- Ray saves searchers by pickle; the study file and the journal hold our state ---------

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the state is in the study file, and the run's journal can remake that."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a run is resumed from its journal, not from Tune's files")

    def __deepcopy__(self, memo: dict[int, Any]) -> StudySearch:
        return self  # two searchers on one study would hand out the same trials

    def __getstate__(self) -> dict[str, Any]:
        names = ("spec", "path", "seed", "budget", "name")
        return {name: getattr(self, name) for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(  # type: ignore[misc]
            state["spec"],
            state["path"],
            seed=state["seed"],
            budget=state["budget"],
            name=state["name"],
        )
