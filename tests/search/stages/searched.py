"""A run whose search is over, whose stages go on in this process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recsys.data import Dataset
from recsys.split import Split
from search import stats
from search.machine.cluster import Resources
from search.record.events import SessionBegan, State, TrialEnded, TrialMade
from search.record.folder import RunFolder
from search.record.result import Blended, blended
from search.space.load import load_spec
from search.space.trial import TrialConfig
from search.stages import blend as blend_stage
from search.stages import test as test_stage
from search.stages.context import Stages
from search.stages.lists import drop_lists
from search.stages.race import race
from search.stages.refit import refit
from tests.search.stages.test_race import Workers

SPACE = """
metric: ndcg@10
trials: 4
k: 10
race: {finalists: 2, replicates: 3}
blend: 3
params:
  model: {choice: [ease, popularity, rp3beta]}
  ease_l2: {low: 1, high: 1000}
enqueue:
  - {model: ease, ease_l2: 10}
  - {model: ease, ease_l2: 100}
  - {model: rp3beta}
  - {model: popularity}
"""
VALUES = (0.4, 0.3, 0.2, 0.1)


class Run:
    """A run whose search is over."""

    def __init__(self, folder: Path, dataset: Dataset, split: Split, space: str = SPACE) -> None:
        path = folder / "several.yaml"
        path.write_text(space)
        self.spec = load_spec(str(path))
        self.folder = RunFolder.create(folder, "one")
        self.journal = self.folder.journal()
        self.journal.append(SessionBegan(name="one", settings={"seed": 1}))
        for number, (entry, value) in enumerate(zip(self.spec.enqueue, VALUES, strict=False)):
            made = TrialConfig.of(self.spec, dict(entry), 1, number)
            flat, params = made.train.to_flat(), made.params
            add = self.journal.append
            add(TrialMade(id=made.id, number=number, params=params, config=flat, seed=made.seed))
            known: dict[str, Any] = {"best_epoch": 1, "epochs": 1, "busy_s": 0.1}
            add(TrialEnded(id=made.id, state=State.COMPLETE, value=value, **known))
        self.notes: list[str] = []
        self.progress: list[tuple[int, int, str]] = []
        self.workers = Workers()
        display: Any = SimpleNamespace(
            note=self.notes.append,
            progress=lambda *said: self.progress.append(said),
            parts=lambda *said: self.progress.append(said),
            stage=lambda _: None,
        )
        settings: Any = SimpleNamespace(
            settles=False,
            has_default=True,
            seed=1,
            time_budget=None,
            device="cpu",
            submission_sep=" ",
            storage=None,
            address=None,
        )
        self.stages = Stages(
            spec=self.spec,
            settings=settings,
            dataset=dataset,
            split=split,
            plan=self.spec.split,
            folder=self.folder,
            journal=self.journal,
            display=display,
            cluster=self.workers,  # type: ignore[arg-type]
            resources=Resources(1, 0.0, 2, 2),
            deadline=None,
        )

    def go(self, *stages: str) -> None:
        work = {
            "race": lambda: race(self.stages),
            "blend": lambda: blend_stage.choose_blend(self.stages),
            "test": lambda: test_stage.test(self.stages),
            "refit": lambda: refit(self.stages),
        }
        for name in stages:
            self.stages.stage(name, work[name])
            if name == "blend":
                drop_lists(self.folder.path)

    def said(self, stage: str) -> Mapping[str, Any]:
        return self.stages.state.stages[stage].data


def blended_otherwise(
    run: Run, monkeypatch: pytest.MonkeyPatch, stage: str, **changes: Any
) -> Blended:
    """The blend after a race, with changes that `stage` sees in its place."""
    run.go("race", "blend")
    found = blended(run.stages.state)
    assert found is not None
    changed = found.model_copy(update=changes)
    monkeypatch.setattr(f"search.stages.{stage}.blended", lambda _: changed)
    return changed


def blended_as_proven(run: Run, monkeypatch: pytest.MonkeyPatch, proven: bool = True) -> Blended:
    """The blend after a race, proven better or not, whatever it is worth."""
    p = 0.001 if proven else 0.3
    low, high = (0.05, 0.15) if proven else (-0.1, 0.3)
    fixed = stats.PairedComparison(0.1, low, high, p, p, 0.05, 100, 3)
    with monkeypatch.context() as patch:
        patch.setattr(blend_stage, "compare_paired", lambda *_: fixed)
        run.go("race", "blend")
    found = blended(run.stages.state)
    assert found is not None and found.handed_over is proven
    return found
