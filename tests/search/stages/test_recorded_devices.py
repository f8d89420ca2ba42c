"""What the stages after a search say of the device that they trained on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.search.stages.searched import Run, blended_otherwise


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_what_the_stages_trained_on_is_recorded_where_a_worker_chose_it(
    run: Run, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    run.stages.settings.device = device  # type: ignore[misc]
    run.stages.resources = replace(run.stages.resources, gpus_per_trial=1.0)
    blended_otherwise(run, monkeypatch, "refit", members=(), handed_over=False)
    run.go("test", "refit")
    kept = {row.device for row in run.stages.state.race.values()}
    kept |= {run.said(stage).get("device") for stage in ("test", "refit")}
    assert kept == ({None} if device == "cpu" else {"cpu"})
    said = [note for note in run.notes if "torch sees no GPU" in note]
    assert len(said) == (0 if device == "cpu" else 1)


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_what_the_members_of_a_blend_were_trained_on_is_recorded(
    run: Run, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    run.stages.settings.device = device  # type: ignore[misc]
    better = blended_otherwise(run, monkeypatch, "refit", handed_over=True)
    run.go("test", "refit")
    said = run.said("refit")
    members = [one.id for one in better.members]
    assert said.get("devices") == (None if device == "cpu" else dict.fromkeys(members, "cpu"))
    assert said.get("device") is None


def test_a_gpu_that_was_used_is_no_note(run: Run) -> None:
    run.stages.settings.device = "auto"  # type: ignore[misc]
    run.stages.resources = replace(run.stages.resources, gpus_per_trial=1.0)
    assert run.stages.trained_on("cuda") == "cuda"
    assert run.notes == []
