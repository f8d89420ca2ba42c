"""Run folders as a search leaves them, made in a moment: for the report and the browser tests."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from search.record.events import (
    EpochsReported,
    Reason,
    ReplicateRaced,
    SessionBegan,
    SessionEnded,
    StageMarked,
    StageState,
    State,
    Status,
    TrialBegan,
    TrialEnded,
    TrialMade,
)
from search.record.folder import RunFolder
from search.record.result import RunResult, write_result
from search.space.load import SearchSpec, load_spec
from search.stats import compare_paired, holm, verdict

START = 1_790_000_000.0
REASONS = {
    State.COMPLETE: Reason.PATIENCE,
    State.PRUNED: Reason.ASHA,
    State.FAILED: Reason.ERROR,
}
COLUMNS = ["epoch", "loss", "map@50", "recall@20", "train_seconds", "eval_seconds"]


def goodness(params: dict[str, Any]) -> float:
    """A made-up objective: smooth in lr and l2, better with more candidates."""
    lr = math.log10(params.get("lr", 0.02) / 0.03)
    l2 = math.log10(params.get("l2", 0.05) / 0.05)
    candidates = math.log10(params.get("num_candidate_neg_samples", 20) / 100)
    return 0.14 - 0.05 * lr**2 - 0.015 * l2**2 - 0.012 * candidates**2


def write_search(
    folder: RunFolder, spec: SearchSpec, trials: int, seed: int, **changes: Any
) -> Any:
    """Trials into the journal: a third complete, most pruned, a few failed."""
    rng = np.random.default_rng(seed)
    journal = folder.journal()
    settings = {"seed": 42}
    facts = {"space": spec.name, "metric": spec.metric, "purpose": spec.purpose}
    journal.append(SessionBegan(name=folder.name, settings=settings, time=START, **facts))
    journal.append(StageMarked(name="search", state=StageState.START, time=START))
    now = START
    for number in range(trials):
        name = f"t{number:04d}"
        params = spec.sample(rng) | changes
        flat = {"latent_factors": 64, "loss": "bpr", "negatives_exclude": "train"} | params
        journal.append(TrialMade(id=name, number=number, params=params, config=flat, seed=number))
        journal.append(TrialBegan(id=name, attempt=1, time=now))
        level = max(0.01, goodness(params) + rng.normal(0, 0.004))
        state = State.PRUNED if level < 0.125 and number > 3 else State.COMPLETE
        state = State.FAILED if number % 17 == 9 else state
        epochs = {State.COMPLETE: 45, State.PRUNED: int(rng.choice([6, 18])), State.FAILED: 2}[
            state
        ]
        values = [
            level * (1 - math.exp(-e / 9)) + rng.normal(0, 8e-4) for e in range(1, epochs + 1)
        ]
        best = int(np.argmax(values)) + 1
        rows = [[e + 1, 0.7 / (e + 1), v, v * 2, 0.08, 0.02] for e, v in enumerate(values)]
        now += epochs * 0.05
        journal.append(EpochsReported(id=name, attempt=1, columns=COLUMNS, rows=rows, time=now))
        failed = state == State.FAILED
        cause = f"DivergedError: training diverged (NaN or overflow) in epoch 3 with lr {number}"
        journal.append(
            TrialEnded(
                id=name,
                state=state,
                reason=REASONS[state],
                value=None if failed else values[best - 1],
                best_epoch=None if failed else best,
                epochs=epochs,
                busy_s=epochs * 0.1,
                error=f"Traceback ...\n{cause}" if failed else None,
                cause=("MemoryError: 3.1 GiB" if number % 2 else cause) if failed else None,
                time=now,
            )
        )
    journal.append(StageMarked(name="search", state=StageState.DONE, data={}, time=now))
    return journal, now


def fake_run(
    runs_dir: Path,
    name: str = "bpr_hard-ml_100k-20260131-120000",
    *,
    trials: int = 64,
    seed: int = 3,
    done: bool = True,
    data: str = "ml-100k",
    result_changes: dict[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """A whole run, or one that stopped after the search (`done` False)."""
    spec = load_spec("bpr_hard")
    folder = RunFolder.create(runs_dir, name)
    with folder:
        journal, now = write_search(folder, spec, trials, seed, **changes)
        folder.write("spec.yaml", spec.to_yaml())
        folder.write_json("provenance.json", provenance(data))
        if done:
            result = race_and_test(folder, journal, now, data, seed)
            write_result(folder, RunResult.model_validate(result | (result_changes or {})))
        journal.close()
        folder.write_tables()
    return folder.path


def race_and_test(
    folder: RunFolder, journal: Any, now: float, data: str, seed: int
) -> dict[str, Any]:
    """The later stages: race rows in the journal, and the content of result.json."""
    rng = np.random.default_rng([seed, 1])
    state = folder.state()
    ranked = sorted(
        (t for t in state.in_order() if t.state == "COMPLETE"), key=lambda t: -(t.value or 0)
    )
    racers = [*ranked[:4], state.in_order()[0]]
    taste_U = rng.beta(0.6, 3.5, 940)
    per_user = {}
    for place, trial in enumerate(racers):
        lift = -0.001 * place - (0.012 if place == 4 else 0)
        per_user[trial.id] = taste_U + lift + rng.normal(0, 0.05, (5, 940))
        for replicate in range(5):
            journal.append(
                ReplicateRaced(
                    config_id=trial.id,
                    replicate=replicate,
                    split_seed=1000 + replicate,
                    value=float(per_user[trial.id][replicate].mean()),
                    best_epoch=38,
                    seconds=4.2,
                )
            )
    means = {name: float(v.mean()) for name, v in per_user.items()}
    order = sorted(means, key=lambda one: -means[one])
    names = {
        order[1]: f"the runner-up {order[1]}",
        racers[4].id: f"the first default config {racers[4].id}",
    }
    found = {r: compare_paired(per_user[order[0]], per_user[r], rng) for r in names}
    found = holm(found, chosen_from=len(order))
    winner = state.trials[order[0]]
    journal.append(StageMarked(name="test", state=StageState.START, time=now))
    journal.append(
        StageMarked(
            name="test", state=StageState.DONE, data={"values": {"map@50": 0.17}}, time=now + 9
        )
    )
    journal.append(SessionEnded(status=Status.DONE, time=now + 20))
    counts = state.counts()
    return {
        "status": "done",
        "run": folder.name,
        "purpose": "search",
        "data": data,
        "metric": "map@50",
        "valid": winner.value,
        "test": 0.1702,
        "test_ci": [0.1611, 0.1795],
        "test_metrics": {"map@50": 0.1702, "recall@20": 0.334, "ndcg@20": 0.301},
        "test_users": 940,
        "test_reads": 1,
        "split": "random, valid ratio 0.1, test ratio 0.1",
        "split_digest": "9f8a1c2b3d4e5f60",
        "negatives_exclude": "train",
        "baselines": {
            "popularity": {"valid": 0.0593, "test": 0.0691},
            "ease": {"valid": 0.1432, "test": 0.1721, "l2": 200.0},
        },
        "best_trial": winner.id,
        "best_config": winner.config | {"patience": 5, "batch_size": 1, "optimizer": "adagrad"},
        "best_params": winner.params,
        "best_epoch": 38,
        "trials": {k: counts[n] for k, n in [("completed", "COMPLETE"), ("pruned", "PRUNED"),
                                             ("failed", "FAILED")]},
        "wall_s": 455.3,
        "busy_fraction": 0.931,
        "race": {
            "replicates": 5,
            "finalists": [
                {"id": n, "mean": means[n], "values": [float(v) for v in per_user[n].mean(axis=1)]}
                for n in order
            ],
            "comparisons": [
                {"against": r, "name": names[r], "gain": c.gain, "ci": [c.low, c.high],
                 "p": c.p_adjusted, "proven": c.proven, "words": verdict(c, names[r])}
                for r, c in found.items()
            ],
            "winner_is_default": False,
        },
        "seed": 42,
    }  # fmt: skip


def fake_table(runs_dir: Path, name: str = "report_table-ml_100k") -> Path:
    """A run of the report's five methods both ways, with test values in every trial."""
    spec = load_spec("report_table")
    folder = RunFolder.create(runs_dir, name)
    level = {
        "bpr_even": 0.05,
        "bce_even": 0.06,
        "bpr_fixed": 0.08,
        "bce_fixed": 0.1,
        "bpr_hard": 0.13,
    }
    with folder:
        journal = folder.journal()
        facts = {"space": spec.name, "metric": spec.metric, "purpose": spec.purpose}
        journal.append(SessionBegan(name=name, settings={"seed": 42}, time=START, **facts))
        for number, params in enumerate(spec.grid()):
            leak = params["negatives_exclude"] == "all"
            value = level[str(params["method"])] * (1.7 if leak else 1.0)
            test = level[str(params["method"])] * (1.1 if leak else 1.25)
            one = f"t{number:04d}"
            config = spec.train_config(params).to_flat()
            journal.append(TrialMade(id=one, number=number, params=params, config=config, seed=1))
            journal.append(TrialBegan(id=one, attempt=1, time=START))
            rows = [[e, 1 / e, value * e / 20, value, 0.1, 0.1] for e in range(1, 21)]
            journal.append(
                EpochsReported(id=one, attempt=1, columns=COLUMNS, rows=rows, time=START)
            )
            journal.append(
                TrialEnded(
                    id=one,
                    state=State.COMPLETE,
                    reason=Reason.EPOCHS,
                    value=value,
                    best_epoch=20,
                    epochs=20,
                    busy_s=4.0,
                    test={"map@50": test, "recall@20": 0.2},
                    time=START + number,
                )
            )
        journal.close()
        folder.write("spec.yaml", spec.to_yaml())
        folder.write_json("provenance.json", provenance("ml-100k"))
        folder.write_tables()
        result = {
            "status": "done", "run": name,
            "purpose": "table", "data": "ml-100k", "metric": "map@50",
            "split": "random, valid ratio 0.1", "negatives_exclude": ["all", "train"],
            "trials": {"completed": 10, "pruned": 0, "failed": 0}, "wall_s": 61.0, "seed": 42,
            "valid": 0.2, "test": None, "baselines": {}, "best_trial": "t0009", "best_epoch": 20,
            "race": {"finalists": [], "comparisons": []}, "busy_fraction": 0.9,
        }  # fmt: skip
        write_result(folder, RunResult.model_validate(result))
    return folder.path


def provenance(data: str) -> dict[str, Any]:
    facts = {
        "data": {
            "name": data,
            "digest": "00ff" * 4,
            "users": 942,
            "items": 1447,
            "positives": 55375,
        },
        "split": {"name": "random, valid ratio 0.1, test ratio 0.1", "digest": "9f8a1c2b3d4e5f60"},
        "seed": 42,
        "time": "2026-01-31T12:00:00.000Z",
        "command": "run_search.py --space bpr_hard",
        "code": {"commit": "0e5aa57f1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f", "modified": False},
        "python": "3.11.9",
        "packages": {"ray": "2.60.0", "optuna": "5.0.0", "numba": None},
        "machine": {
            "cpu": "A processor",
            "cores": 2,
            "memory_gib": 7.8,
            "system": "Linux 6.1 x86_64",
        },
    }
    return json.loads(json.dumps(facts | {"sessions": [{"time": "2026-01-31T12:00:00.000Z"}]}))
