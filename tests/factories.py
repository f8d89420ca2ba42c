"""Runs as a search leaves them, made in a moment from the events and the result of `search.record`.

`Written` puts trials into a journal; `FakeRun` makes up what they report, step by step, for the
tests of tracking; `fake_run` and `fake_table` make whole run folders for the report.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from search.record.compared import comparison
from search.record.events import (
    EpochsReported,
    Event,
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
from search.record.folder import JOURNAL, RunFolder
from search.record.journal import Journal
from search.record.result import (
    VERSION,
    Baseline,
    Beside,
    Counts,
    Finalist,
    Group,
    Groups,
    Race,
    ResultPart,
    RunResult,
    Tested,
    write_result,
)
from search.record.settings import Settings
from search.space.load import load_spec
from search.space.spec import SearchSpec
from search.space.trial import trial_id
from search.stats import compare_paired, holm

START = 1_790_000_000.0
REASONS = {State.COMPLETE: Reason.PATIENCE, State.PRUNED: Reason.ASHA, State.FAILED: Reason.ERROR}
COLUMNS = ["epoch", "loss", "map@50", "recall@20", "train_seconds", "eval_seconds"]
CAUSE = "DivergedError: NaN in epoch 2"
SETTINGS = Settings("ml-100k", None, None, 42, 10, None, 1, 0.0, "cpu", None, None, None)


def journal_of(folder: Path, *events: Event) -> None:
    """Put events at the end of the journal in `folder`, which is made where missing."""
    folder.mkdir(parents=True, exist_ok=True)
    with Journal(folder / JOURNAL) as journal:
        for event in events:
            journal.append(event)


class Written:
    """A run folder and its journal, written event by event; `clock` is None for the time now."""

    def __init__(self, runs_dir: Path, name: str, clock: float | None = None) -> None:
        self.folder = RunFolder.create(runs_dir, name)
        self.journal = self.folder.journal()
        self.number = 0
        self.clock = clock

    @property
    def path(self) -> Path:
        return self.folder.path

    def began(self, **facts: Any) -> None:
        self.journal.append(SessionBegan(name=self.path.name, time=self.clock, **facts))

    def made(self, params: Mapping[str, Any], config: Mapping[str, Any], seed: int = 1) -> str:
        """A new trial that has begun."""
        name = trial_id(self.number)
        self.journal.append(
            TrialMade(id=name, number=self.number, params=params, config=config, seed=seed)
        )
        self.number += 1
        self.start(name)
        return name

    def start(self, name: str, attempt: int = 1) -> None:
        self.journal.append(TrialBegan(id=name, attempt=attempt, time=self.clock))

    def report(self, name: str, rows: Sequence[Sequence[float]], attempt: int = 1) -> None:
        self.journal.append(
            EpochsReported(id=name, attempt=attempt, columns=COLUMNS, rows=rows, time=self.clock)
        )

    def over(self, name: str, state: State, cause: str = CAUSE, **known: Any) -> None:
        """A trial's end; a failed one has no value, and a `cause`."""
        known = {"reason": REASONS[state]} | known
        if state == State.FAILED:
            known |= {"value": None, "best_epoch": None, "cause": cause}
            known["error"] = f'Traceback (most recent call last):\n  File "x.py", line 1\n{cause}'
        self.journal.append(TrialEnded(id=name, state=state, time=self.clock, **known), sync=True)

    def stage(self, name: str, data: ResultPart | None = None) -> None:
        """A stage, begun and done."""
        self.journal.append(StageMarked(name=name, state=StageState.START, time=self.clock))
        found = {} if data is None else data.plain()
        done = StageMarked(name=name, state=StageState.DONE, data=found, time=self.clock)
        self.journal.append(done)

    def raced(self, name: str, replicate: int, value: float | None, **known: Any) -> None:
        known = {"split_seed": 1000 + replicate, "best_epoch": 3} | known
        self.journal.append(
            ReplicateRaced(config_id=name, replicate=replicate, value=value, **known)
        )

    def ended(self, status: Status) -> None:
        self.journal.append(SessionEnded(status=status, time=self.clock), sync=True)

    def close(self) -> None:
        self.journal.close()
        self.folder.close()


class FakeRun(Written):
    """A search that makes up its values, from a seeded generator."""

    def __init__(self, runs_dir: Path, name: str, seed: int = 0, leaky: bool = False) -> None:
        super().__init__(runs_dir, name)
        self.rng = np.random.default_rng(seed)
        self.exclude = "all" if leaky else "train"
        self.session()
        self.folder.write("spec.yaml", f"metric: map@50\nname: {name}\n")

    def session(self) -> None:
        self.began(settings=asdict(SETTINGS), split_digest="ab12", metric="map@50")

    def begin(self) -> str:
        """A new trial that runs."""
        params = {"lr": float(self.rng.uniform(0.01, 0.1)), "hard_fraction": 0.25}
        config = {"lr": params["lr"], "loss": "bpr", "negatives_exclude": self.exclude}
        return self.made(params, config, seed=self.number + 7)

    def epochs(self, name: str, first: int, last: int, attempt: int = 1) -> None:
        """Rows of epochs `first`..`last`, in one line."""
        rows = [
            [e, float(1 / e + self.rng.random() / 9), *map(float, self.rng.random(2)), 0.01, 0.002]
            for e in range(first, last + 1)
        ]
        self.report(name, rows, attempt)

    def end(self, name: str, state: State | str, epochs: int) -> None:
        value, best = float(self.rng.random()), max(1, epochs - 1)
        known = {"value": value, "best_epoch": best, "epochs": epochs, "busy_s": 0.012 * epochs}
        self.over(name, State(state), **known)

    def trial(self, state: State | str = State.COMPLETE, epochs: int = 5) -> str:
        name = self.begin()
        half = max(1, epochs // 2)
        self.epochs(name, 1, half)
        if epochs > half:
            self.epochs(name, half + 1, epochs)
        self.end(name, state, epochs)
        return name

    def several(self, count: int) -> None:
        for n in range(count):
            self.trial((State.COMPLETE, State.PRUNED, State.FAILED)[n % 3], 2 + n % 5)

    def finish(self, status: str = "done", model: bool = False) -> None:
        """Race, tables, result, and the last line."""
        for replicate in range(2):
            self.raced("t0000", replicate, float(self.rng.random()))
        if status == Status.DONE:
            result = RunResult(
                version=VERSION,
                metric="map@50",
                valid=0.13,
                test=0.17,
                test_ci=(0.16, 0.18),
                test_metrics={"map@50": 0.17, "ndcg@20": 0.3},
                split="random ratio 0.1",
                negatives_exclude=self.exclude,
                best_config={"lr": 0.1, "negatives_exclude": self.exclude},
                trials=Counts(completed=4, pruned=3, failed=3),
            )
            write_result(self.folder, result)
            self.folder.write("report.html", "<p>&lt;script&gt;</p>")
            self.folder.write("submission.csv", "UserId,ItemId\n1,2 3\n")
        if model:
            save_tiny_model(self.path / "model")
        self.folder.write_tables()
        self.ended(Status(status))


def save_tiny_model(folder: Path, string_ids: bool = False) -> None:
    """3 users, 4 items, d = 2, with weights that make the order plain."""
    import torch

    from recsys.interactions import CSR, Interactions
    from recsys.models.catalogue import save_catalogue

    folder.mkdir(exist_ok=True)
    weights = {
        "user_factors": torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]),
        "item_factors": torch.tensor([[4.0, 1.0], [3.0, 2.0], [2.0, 3.0], [1.0, 4.0]]),
        "user_bias": torch.zeros(3),
        "item_bias": torch.zeros(4),
        "global_bias": torch.zeros(1),
    }
    torch.save(weights, folder / "weights.pt")
    (folder / "config.json").write_text('{"model": "lfm", "lr": 0.1}')
    seen = CSR.from_pairs(np.array([0, 1]), np.array([0, 3]), 3, 4)
    users, items = np.array([10, 20, 30]), np.array([100, 200, 300, 400])
    if string_ids:
        users = np.array(["ann", "bob", "eve"], object)
        items = np.array(["a b", "é", "<i>", "z"], object)
    save_catalogue(folder, Interactions(seen, np.zeros(2), users, items, ordered=False), seen)


# --- whole folders, for the report ----------------------------------------------------------------


def goodness(params: dict[str, Any]) -> float:
    """A made-up objective: smooth in lr and l2, better with more candidates."""
    lr = math.log10(params.get("lr", 0.02) / 0.03)
    l2 = math.log10(params.get("l2", 0.05) / 0.05)
    candidates = math.log10(params.get("num_candidate_neg_samples", 20) / 100)
    return 0.14 - 0.05 * lr**2 - 0.015 * l2**2 - 0.012 * candidates**2


def _begun(runs_dir: Path, name: str, spec: SearchSpec, data: str) -> Written:
    run = Written(runs_dir, name, START)
    run.began(settings=asdict(SETTINGS), space=spec.name, metric=spec.metric, purpose=spec.purpose)
    run.folder.write("spec.yaml", spec.to_yaml())
    run.folder.write_json("provenance.json", provenance(data))
    return run


def _search(
    run: Written, spec: SearchSpec, trials: int, seed: int, changes: dict[str, Any]
) -> None:
    """Trials into the journal: a third complete, most pruned, a few failed."""
    rng = np.random.default_rng(seed)
    now = START
    for number in range(trials):
        sampled = spec.sample(rng)
        params = sampled | changes
        flat = spec.train_config(sampled).to_flat() | changes
        name = run.made(params, flat, seed=number)
        level = max(0.01, goodness(params) + rng.normal(0, 0.004))
        state = State.PRUNED if level < 0.125 and number > 3 else State.COMPLETE
        state = State.FAILED if number % 17 == 9 else state
        short = int(rng.choice([6, 18])) if state == State.PRUNED else 2
        epochs = 45 if state == State.COMPLETE else short
        values = [
            level * (1 - math.exp(-e / 9)) + rng.normal(0, 8e-4) for e in range(1, epochs + 1)
        ]
        best = int(np.argmax(values)) + 1
        now += epochs * 0.05
        run.clock = now
        rows = [[e + 1, 0.7 / (e + 1), v, v * 2, 0.08, 0.02] for e, v in enumerate(values)]
        run.report(name, rows)
        cause = f"DivergedError: training diverged (NaN or overflow) in epoch 3 with lr {number}"
        run.over(
            name,
            state,
            "MemoryError: 3.1 GiB" if number % 2 else cause,
            value=values[best - 1],
            best_epoch=best,
            epochs=epochs,
            busy_s=epochs * 0.1,
        )
    run.stage("search")


def fake_run(
    runs_dir: Path,
    name: str = "bpr_hard-ml_100k-20260131-120000",
    *,
    trials: int = 64,
    seed: int = 3,
    done: bool = True,
    data: str = "ml-100k",
    space: str = "bpr_hard",
    result_changes: dict[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """A whole run, or one that stopped after the search (`done` False)."""
    spec = load_spec(space)
    run = _begun(runs_dir, name, spec, data)
    _search(run, spec, trials, seed, changes)
    if done:
        result = _race_and_test(run, data, seed).plain() | (result_changes or {})
        write_result(run.folder, RunResult.model_validate(result))
    run.folder.write_tables()
    run.close()
    return run.path


def _race_and_test(run: Written, data: str, seed: int) -> RunResult:
    """The later stages: race and test in the journal, and what follows from them."""
    rng = np.random.default_rng([seed, 1])
    state = run.folder.state()
    complete = [t for t in state.in_order() if t.state == State.COMPLETE]
    ranked = sorted(complete, key=lambda t: -(t.value or 0))
    racers = [*ranked[:4], state.in_order()[0]]
    taste_U = rng.beta(0.6, 3.5, 940)
    per_user = {}
    for place, trial in enumerate(racers):
        lift = -0.001 * place - (0.012 if place == 4 else 0)
        per_user[trial.id] = taste_U + lift + rng.normal(0, 0.05, (5, 940))
        for replicate in range(5):
            run.raced(trial.id, replicate, float(per_user[trial.id][replicate].mean()))
    values = {name: tuple(map(float, v.mean(axis=1))) for name, v in per_user.items()}
    means = {name: float(np.mean(v)) for name, v in values.items()}
    order = sorted(means, key=lambda one: -means[one])
    names = {
        order[1]: f"the runner-up {order[1]}",
        racers[4].id: f"the first default config {racers[4].id}",
    }
    found = {r: compare_paired(per_user[order[0]], per_user[r], rng) for r in names}
    winner, counts = state.trials[order[0]], state.counts()
    on_test = {"map@50": 0.1702, "recall@20": 0.334, "ndcg@20": 0.301}
    run.stage("test", Tested(values=on_test, users=940))
    run.ended(Status.DONE)
    return RunResult(
        version=VERSION,
        status=Status.DONE,
        run=run.path.name,
        purpose="search",
        data=data,
        metric="map@50",
        valid=winner.value,
        test=on_test["map@50"],
        test_ci=(0.1611, 0.1795),
        test_metrics=on_test,
        test_users=940,
        groups=made_groups(),
        test_reads=1,
        split="random, valid ratio 0.1, test ratio 0.1",
        split_digest="9f8a1c2b3d4e5f60",
        negatives_exclude="train",
        baselines={
            "popularity": Baseline(valid=0.0593, test=0.0691),
            "ease": Baseline.model_validate({"valid": 0.1432, "test": 0.1721, "l2": 200.0}),
        },
        best_trial=winner.id,
        best_config=winner.config | {"patience": 5, "batch_size": 1, "optimizer": "adagrad"},
        best_params=winner.params,
        best_epoch=38,
        trials=Counts(
            completed=counts[State.COMPLETE],
            pruned=counts[State.PRUNED],
            failed=counts[State.FAILED],
        ),
        wall_s=455.3,
        busy_fraction=0.931,
        race=Race(
            replicates=5,
            finalists=tuple(Finalist(id=n, mean=means[n], values=values[n]) for n in order),
            comparisons=tuple(comparison(r, c, names[r]) for r, c in holm(found).items()),
        ),
        seed=42,
    )


# What changes in the result of a run where a blend is handed over in the winner's place.
BLENDED: dict[str, Any] = {
    "blend": {
        "members": [
            {"id": "t0001", "weight": 0.5},
            {"id": "t0002", "weight": 0.3},
            {"id": "t0004", "weight": 0.2},
        ],
        "handed_over": True,
        "test": 0.1763,
        "test_ci": [0.1672, 0.1854],
    }
}


def made_groups() -> Groups:
    """A winner that fails those with few items and items with few users."""

    def one(low: int, high: int, users: int, value: float, items: int | None = None) -> Group:
        rivals = {
            "popularity": Beside(value=value - 0.06, gain=0.06, ci=(0.041, 0.079), proven=True),
            "ease": Beside(value=value + 0.004, gain=-0.004, ci=(-0.02, 0.012)),
        }
        return Group(
            low=low, high=high, users=users, items=items, pairs=3 * users, value=value,
            ci=(value - 0.02, value + 0.02), rivals=rivals,
        )  # fmt: skip

    return Groups(
        model="winner",
        k=50,
        by_user=(one(4, 19, 310, 0.1312), one(20, 61, 318, 0.17), one(62, 412, 312, 0.21)),
        by_item=(
            Group(low=0, high=0, users=21, items=15, pairs=21, value=0.0, ci=(0.0, 0.0)),
            one(1, 30, 420, 0.0723, 1021),
            one(31, 455, 870, 0.41, 426),
        ),
    )


LEVELS = {"bpr_even": 0.05, "bce_even": 0.06, "bpr_fixed": 0.08, "bce_fixed": 0.1, "bpr_hard": 0.13}


def fake_table(runs_dir: Path, name: str = "report_table-ml_100k") -> Path:
    """A run of the report's five methods both ways, with test values in every trial."""
    spec = load_spec("report_table")
    run = _begun(runs_dir, name, spec, "ml-100k")
    for params in spec.grid():
        leak, level = params["negatives_exclude"] == "all", LEVELS[str(params["method"])]
        value, test = level * (1.7 if leak else 1.0), level * (1.1 if leak else 1.25)
        trial = run.made(params, spec.train_config(params).to_flat())
        run.report(trial, [[e, 1 / e, value * e / 20, value, 0.1, 0.1] for e in range(1, 21)])
        known = {"reason": Reason.EPOCHS, "value": value, "best_epoch": 20, "epochs": 20}
        known |= {"busy_s": 4.0, "test": {"map@50": test, "recall@20": 0.2}}
        run.over(trial, State.COMPLETE, **known)
    run.folder.write_tables()
    result = RunResult(
        version=VERSION, status=Status.DONE, run=name, purpose="table", data="ml-100k",
        metric="map@50", split="random, valid ratio 0.1", negatives_exclude=("all", "train"),
        trials=Counts(completed=10), wall_s=61.0, seed=42, valid=0.2, best_trial="t0009",
        best_epoch=20, busy_fraction=0.9,
    )  # fmt: skip
    write_result(run.folder, result)
    run.close()
    return run.path


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
    return facts | {"sessions": [{"time": "2026-01-31T12:00:00.000Z"}]}
