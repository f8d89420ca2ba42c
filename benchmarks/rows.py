"""What is measured: the contests, and the comparisons that make up the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.contest import Contender, Turns

HARD: dict[str, Any] = {
    "neg_mode": "hard",
    "num_candidate_neg_samples": 100,
    "num_hard_neg_samples": 3,
    "num_random_neg_samples": 3,
}
ADAM: dict[str, Any] = {"optimizer": "adam", "lr": 0.002, "weight_decay": 1e-5}


@dataclass(frozen=True)
class Line:
    """One line of the table. ratio: None where the contest was not held; limit: None, for
    comparison only."""

    what: str
    ours: str
    other: str
    ratio: float | None
    limit: float | None = None
    at_least: bool = True
    cpu_ratio: float | None = None
    spread: tuple[float, float] | None = None
    unit: str = "x"

    @property
    def met(self) -> bool | None:
        if self.limit is None or self.ratio is None:
            return None
        return self.ratio >= self.limit if self.at_least else self.ratio <= self.limit


@dataclass(frozen=True)
class Compare:
    """The time of a row of the fastest of `others` over that of `ours`, on visited rows."""

    what: str
    ours: str
    others: tuple[str, ...]
    limit: float | None = None
    at_least: bool = True
    cpu: bool = True  # whether processor time means anything: not with different threads

    def line(self, turns: Mapping[str, Turns]) -> Line:
        ours = turns[self.ours]
        fastest = min((turns[name] for name in self.others), key=lambda turn: turn.per_row)
        pairs = [b / a for a, b in zip(ours.wall, fastest.wall, strict=True)]
        cpu = sorted(fastest.cpu)[len(fastest.cpu) // 2] / sorted(ours.cpu)[len(ours.cpu) // 2]
        return Line(
            self.what,
            _speed(ours),
            _speed(fastest),
            fastest.per_row / ours.per_row,
            self.limit,
            self.at_least,
            cpu if self.cpu else None,
            (min(pairs), max(pairs)),
        )


@dataclass(frozen=True)
class Memory:
    """What a training takes beside the model and the data, counted and as the system sees it."""

    what: str
    ours: str
    limit: float

    def lines(self, turns: Mapping[str, Turns]) -> list[Line]:
        facts = turns[self.ours].facts
        held = facts["model_and_data_bytes"]
        mib = f"{held / 2**20:.0f} MiB"
        counted = (held + facts["engine_bytes"]) / held
        grown = facts["growth_bytes"] / held
        return [
            Line(f"{self.what}, arrays", mib, "", counted, self.limit, at_least=False),
            Line(f"{self.what}, peak of the process", mib, "", grown, self.limit, at_least=False),
        ]


@dataclass(frozen=True)
class Seconds:
    """An epoch against a limit in seconds."""

    what: str
    ours: str
    limit: float

    def line(self, turns: Mapping[str, Turns]) -> Line:
        turn = turns[self.ours]
        seconds = turn.epoch_seconds
        return Line(self.what, _speed(turn), "", seconds, self.limit, at_least=False, unit="s")


@dataclass(frozen=True)
class Contest:
    """Contenders on one machine in one run.

    rounds: at most so many, where an epoch is long. times: as many rounds more, where it is short
    and a moment's disturbance weighs more.
    """

    key: str
    contenders: tuple[Contender, ...]
    checks: tuple[Compare | Memory | Seconds, ...]
    rounds: int | None = None
    times: int = 1


def _speed(turn: Turns) -> str:
    rate = 1e-6 / turn.per_row
    shown = f"{rate:.2f} M/s" if rate >= 0.1 else f"{1e3 * rate:.2f} k/s"
    skipped = "" if turn.trained == 1 else f" ({turn.trained:.0%} of them trained)"
    return f"{turn.name}: {shown}{skipped}"


class Roster:
    """Makes contenders and contests. own, peers: the Python of each environment."""

    def __init__(self, own: str, peers: str, report_script: Path) -> None:
        self.own, self.peers, self.report_script = own, peers, report_script

    def ours(
        self, name: str, data: Path, config: dict[str, Any], *, warm_up: bool = True, **asked: Any
    ) -> Contender:
        flat = {"latent_factors": 64, "lr": 0.05, **config}
        options = {"data": str(data), "config": flat, **asked}
        return Contender(name, "ours.py", self.own, options, warm_up)

    def peer(self, name: str, driver: str, data: Path, factors: int, **asked: Any) -> Contender:
        options = {"data": str(data), "factors": factors, **asked}
        return Contender(name, driver, self.peers, options)

    def uniform(self, data: Path, factors: int) -> Contest:
        size = {"latent_factors": factors}
        return Contest(
            f"uniform-{factors}",
            (
                self.ours("sgd", data, {"optimizer": "sgd", **size}),
                self.peer("implicit", "implicit_bpr.py", data, factors),
                self.peer("Cornac", "cornac_bpr.py", data, factors),
                self.ours("adagrad", data, size),
            ),
            (
                Compare(f"uniform BPR d={factors}", "sgd", ("implicit", "Cornac"), 1.0),
                Compare(f"the same, Adagrad against their SGD, d={factors}", "adagrad",
                        ("implicit", "Cornac")),
            ),
            times=3,
        )  # fmt: skip

    def hard(self, data: Path) -> Contest:
        batch = {**HARD, "batch_size": 512}
        torch: dict[str, Any] = {"engine": "torch"}
        adam = {**batch, **ADAM}
        what = "hard N=100 M=3 K=3 d=64, torch engine"
        # by itself that engine multiplies by all items where there are few, as here
        dense = ("torch adagrad 512", "torch adagrad 4096", "torch adam 512")
        return Contest(
            "hard",
            (
                self.ours("adagrad online", data, HARD),
                self.ours("adagrad 512", data, batch),
                self.ours("adam 512", data, adam),
                self.ours("torch adagrad 512", data, batch, **torch),
                self.ours("torch adagrad 4096", data, {**batch, "batch_size": 4096}, **torch),
                self.ours("torch adam 512", data, adam, **torch),
                self.ours("torch gathering adagrad 512", data, batch, **torch, dense=0),
                self.ours("torch gathering adam 512", data, adam, **torch, dense=0),
            ),
            (
                Compare(
                    f"{what}, the fastest setting of each",
                    "adagrad online",
                    (*dense, "torch gathering adagrad 512", "torch gathering adam 512"),
                    10.0,
                ),
                Compare(f"{what}, scoring all items, the fastest", "adagrad online", dense),
                Compare(f"{what}, Adagrad 512", "adagrad 512", ("torch adagrad 512",)),
                Compare(f"{what}, Adam 512", "adam 512", ("torch adam 512",)),
                Compare(
                    f"{what} gathering candidates, the fastest setting of each",
                    "adagrad online",
                    ("torch gathering adagrad 512", "torch gathering adam 512"),
                ),
                Compare(
                    f"{what} gathering candidates, Adagrad 512",
                    "adagrad 512",
                    ("torch gathering adagrad 512",),
                ),
                Compare(
                    f"{what} gathering candidates, Adam 512",
                    "adam 512",
                    ("torch gathering adam 512",),
                ),
            ),
        )

    def report(self, data: Path) -> Contest:
        size = {**HARD, "num_candidate_neg_samples": 10, "latent_factors": 400, "batch_size": 512}
        return Contest(
            "report",
            (
                self.ours("adam 512", data, {**size, **ADAM, "margin": 3.0}),
                self.peer(
                    "loops", "report_loops.py", data, 400, script=str(self.report_script)
                ),
            ),
            (
                Compare(
                    "the report's setting, d=400 N=10 M=3 K=3 Adam 512, its own loops",
                    "adam 512",
                    ("loops",),
                    40.0,
                ),
            ),
        )  # fmt: skip

    def frameworks(self, data: Path) -> Contest:
        kit = "lenskit_bpr.py"
        return Contest(
            "frameworks",
            (
                self.ours("sgd", data, {"optimizer": "sgd"}),
                self.ours("adam 2048", data, {**ADAM, "batch_size": 2048}),
                self.ours("adam 8192", data, {**ADAM, "batch_size": 8192}),
                self.peer("LensKit compiled", kit, data, 64, compile=True),
                self.peer("LensKit", kit, data, 64, compile=False),
                self.peer("RecBole", "recbole_bpr.py", data, 64),
            ),
            (
                Compare("BPR d=64, LensKit", "sgd", ("LensKit compiled", "LensKit"), 20.0),
                Compare("BPR d=64, RecBole", "sgd", ("RecBole",), 20.0),
                Compare(
                    "the same with their optimiser and batch, LensKit (Adam, 8192)",
                    "adam 8192",
                    ("LensKit compiled", "LensKit"),
                ),
                Compare(
                    "the same with their optimiser and batch, RecBole (Adam, 2048)",
                    "adam 2048",
                    ("RecBole",),
                ),
            ),
            times=2,
        )

    def gowalla(self, data: Path) -> Contest:
        return Contest(
            "gowalla",
            (
                self.ours("hard, 1 thread", data, HARD, memory=True),
                self.ours("hard, 2 threads", data, HARD, threads=2),
                self.ours("uniform, 1 thread", data, {}),
                self.ours("uniform, 2 threads", data, {}, threads=2),
            ),
            (
                Seconds("Gowalla d=64 N=100, one epoch on 1 thread", "hard, 1 thread", 8.0),
                Memory("Gowalla, memory over model + data", "hard, 1 thread", 3.0),
                Compare(
                    "Gowalla N=100, 2 threads against 1",
                    "hard, 2 threads",
                    ("hard, 1 thread",),
                    1.7,
                    cpu=False,
                ),
                Compare(
                    "Gowalla uniform, 2 threads against 1",
                    "uniform, 2 threads",
                    ("uniform, 1 thread",),
                    cpu=False,
                ),
            ),
        )

    def scale(self, small: Path, large: Path) -> Contest:
        return Contest(
            "scale",
            (
                self.ours("hard, 100 k", small, HARD),
                self.ours("hard, 10 M", large, HARD, warm_up=False),
                self.ours("uniform, 100 k", small, {}),
                self.ours("uniform, 10 M", large, {}, warm_up=False),
            ),
            (
                Compare(
                    "cost of a positive at 10 M over 100 k, N=100",
                    "hard, 100 k",
                    ("hard, 10 M",),
                    2.5,
                    at_least=False,
                ),
                Compare(
                    "cost of a positive at 10 M over 100 k, uniform",
                    "uniform, 100 k",
                    ("uniform, 10 M",),
                    2.5,
                    at_least=False,
                ),
            ),
            rounds=3,
        )
