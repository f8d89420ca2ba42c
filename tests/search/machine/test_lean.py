"""Ray Tune without what a search has no use for."""

from __future__ import annotations

import pytest
from ray.tune.experiment import trial
from ray.tune.trainable.metadata import _TrainingRunMetadata

from search.machine.lean import without_bookkeeping


def test_the_code_of_trials_is_fetched_once_and_no_averages_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(trial, "get_trainable_cls", lambda name: asked.append(name) or name)
    ours, kept = trial.get_trainable_cls, _TrainingRunMetadata.update_metric
    with without_bookkeeping():
        assert [trial.get_trainable_cls("run") for _ in range(3)] == ["run"] * 3
        told = _TrainingRunMetadata()
        told.update_metric("objective", 0.5, step=1)
        assert told.metric_analysis == {}
    assert asked == ["run"]
    assert (trial.get_trainable_cls, _TrainingRunMetadata.update_metric) == (ours, kept)
