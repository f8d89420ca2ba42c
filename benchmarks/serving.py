"""Models in use: how good and how fast a fold-in is, and `mlflow models serve` over HTTP.

    python -m benchmarks.serving ml-100k online_retail_690.csv.gz -o serving.json
    python -m benchmarks.serving ml-100k --kinds ease,ials --requests 0     # without the server

Fold-in: a share of the users are strangers. A model is trained without them, is told some items of
each, and ranks the rest of theirs; models that are trained with these items, the same config and
epochs, rank them too. The ratio of the two values has a 95% interval, over users. Epochs are
learned on a split of the other users. Who the strangers are depends on --seed: the fold-in of ADR
140 was made with others of demo, MovieLens-100K and Health, some of which may be drawn again; of
any other file nobody was used.

HTTP: the first kind on the first data is served by one worker and asked, one request after another,
for people known by their items. OUT has all numbers as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.contest import used_by_others
from recsys.data import load
from recsys.evaluation import evaluate
from recsys.interactions import CSR, Interactions
from recsys.models import Model, ModelConfig, config_from_flat, fit_model, new_model
from recsys.models.blend import Blend, BlendConfig
from recsys.models.catalogue import save_catalogue
from recsys.models.saved import save_model
from recsys.recommending import Recommender
from recsys.split import HoldOut, SplitPlan, make_split
from search.space.load import load_spec
from tests.search.tracking.tracking_help import model_server

WANTED = 0.95  # of the quality of a retrained model
AT_LEAST = 10  # items of a stranger
BLEND = "blend"
BLENDED = ("bpr_hard", "slim", "ials")
OTHERS: dict[str, dict[str, Any]] = {
    "ease": {"model": "ease", "ease_l2": 250.0},
    "item_knn": {"model": "item_knn", "knn_neighbours": 100},
}


def kinds() -> dict[str, ModelConfig]:
    """The first listed config of every method of the space `all`, and the models it leaves out."""
    spec = load_spec("all")
    found: dict[str, ModelConfig] = {}
    for params in map(dict, spec.enqueue):
        found.setdefault(str(params["method"]), spec.train_config(params))
    return found | {name: config_from_flat(dict(flat)) for name, flat in OTHERS.items()}


# --- fold-in --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Strangers:
    """before: all pairs but theirs; given: some items of each, (U, I); answers: the rest; count."""

    before: CSR
    given: CSR
    answers: CSR
    count: int

    @staticmethod
    def of(csr: CSR, share: float, most: int, items: int, seed: int) -> Strangers:
        """A share of the users, at most so many, of whom a model is told `items` items."""
        rng = np.random.default_rng([seed, 0xF01D])
        able = rng.permutation(np.flatnonzero(csr.degrees() >= max(AT_LEAST, items + 1)))
        chosen = able[: min(most, int(share * len(able)))]
        strange = np.zeros(csr.n_users, bool)
        strange[chosen] = True
        users, place = csr.users(), np.empty(csr.nnz, int)
        place[np.lexsort((rng.random(csr.nnz), users))] = np.arange(csr.nnz) - csr.indptr[users]
        theirs, early = strange[users], place < items

        def part(mask: NDArray[np.bool_]) -> CSR:
            return CSR.from_pairs(users[mask], csr.indices[mask], csr.n_users, csr.n_items)

        return Strangers(part(~theirs), part(theirs & early), part(theirs & ~early), len(chosen))


@dataclass(frozen=True)
class FoldIn:
    """Of one kind of model on one data set. ratio: of the fold-in's value to the retrained one's,
    with a 95% interval. one_ms, many_ms: a user asked alone, and among 1,000.
    """

    data: str
    kind: str
    users: int
    folded: float
    retrained: float
    ratio: float
    low: float
    high: float
    one_ms: float
    many_ms: float

    @property
    def verdict(self) -> str:
        """Whether the fold-in is worth a training."""
        return "yes" if self.ratio >= WANTED else "no" if self.high < WANTED else "not told apart"


Fit = Callable[[CSR, int], tuple[Model, ModelConfig]]


def fit_of(kind: str, known: dict[str, ModelConfig], before: CSR, metric: str, seed: int) -> Fit:
    """How a model of a kind is trained, for epochs that were learned without the strangers."""
    names = BLENDED if kind == BLEND else (kind,)
    configs = [learned(known[name], before, metric, seed) for name in names]

    def fit(items: CSR, number: int) -> tuple[Model, ModelConfig]:
        models = [fit_model(one, items, rng=np.random.default_rng([number, 1])) for one in configs]
        if kind != BLEND:
            return models[0], configs[0]
        share = 1 / len(models)
        members = [{"weight": share, "config": one.to_flat()} for one in configs]
        blend = BlendConfig.from_flat({"members": members, "depth": 200})
        return Blend(blend, models, items), blend

    return fit


def learned(config: ModelConfig, before: CSR, metric: str, seed: int) -> ModelConfig:
    """The config with its best number of epochs on a split of these pairs."""
    users = np.arange(before.n_users)
    items = np.arange(before.n_items)
    there = Interactions(before, np.zeros(before.nnz, np.int32), users, items, ordered=False)
    split = make_split(_dataset(there), SplitPlan("random", None, HoldOut("ratio", 0.1)), seed)
    rng = np.random.default_rng([seed, 2])
    model = new_model(config, split.train, rng)
    *_, last = model.train(config, split.train, split.valid, rng=rng, metric=metric)
    return config.for_epochs(last.best_epoch)


def _dataset(interactions: Interactions) -> Any:
    from recsys.data import Dataset

    return Dataset(interactions, None, None, None)


class Table:
    """Scores that are known."""

    def __init__(self, scores: NDArray[np.float32]) -> None:
        self.scores = scores

    def score_users(self, users: NDArray) -> NDArray[np.float32]:
        """float32 (len(users), I)."""
        return self.scores[users]


def fold_in(
    name: str, kind: str, fit: Fit, strangers: Strangers, metric: str, trainings: int
) -> tuple[FoldIn, Recommender]:
    """A kind of model on a data set; and the model without the strangers, in use."""
    with_them = strangers.before.union(strangers.given)
    model, config = fit(strangers.before, 0)

    def per_user(scorer: Any) -> NDArray[np.float64]:
        return evaluate(scorer, with_them, strangers.answers, [metric]).per_user[metric]

    mine = per_user(Table(model.list_scorer(config, strangers.before)(strangers.given)))
    others = np.mean([per_user(fit(with_them, n)[0]) for n in range(1, trainings + 1)], axis=0)
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(mine), (2_000, len(mine)))
    low, high = np.quantile(mine[draws].mean(1) / others[draws].mean(1), [0.025, 0.975])
    use = Recommender(model, config, strangers.before)
    one_ms, many_ms = speed(use, strangers.given)
    found = FoldIn(
        name,
        kind,
        len(mine),
        float(mine.mean()),
        float(others.mean()),
        float(mine.mean() / others.mean()),
        float(low),
        float(high),
        one_ms,
        many_ms,
    )
    return found, use


def speed(use: Recommender, given: CSR) -> tuple[float, float]:
    """Milliseconds a user with its ten items: of one asked alone (median), and of 1,000 (best)."""
    rows = np.flatnonzero(given.degrees() > 0)

    def ask(count: int) -> float:
        some = np.resize(rows, count)
        pairs = [(n, item) for n, row in enumerate(some) for item in given.row(int(row))]
        at, items = np.array(pairs).T
        lists = CSR.from_pairs(at, items, count, given.n_items)
        began = time.perf_counter()
        use.recommend(np.full(count, -1), lists, 10)
        return 1000 * (time.perf_counter() - began) / count

    ask(1)
    return float(np.median([ask(1) for _ in range(50)])), min(ask(1_000) for _ in range(5))


# --- over HTTP ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Served:
    """Milliseconds of requests for so many users each."""

    data: str
    kind: str
    users: int
    requests: int
    median_ms: float
    p99_ms: float


@contextmanager
def server(use: Recommender, folder: Path) -> Iterator[str]:
    """The address of a model behind `mlflow models serve`, with one worker."""
    from search.tracking.champion import save_pyfunc

    save_model(folder / "model", use.model.to_bytes(), use.config)
    ids = np.arange(use.seen.n_users), np.arange(use.seen.n_items)
    there = Interactions(use.seen, np.zeros(use.seen.nnz, np.int32), *ids, ordered=False)
    save_catalogue(folder / "model", there, use.seen)
    save_pyfunc(folder / "model", folder / "served")
    with model_server("served", f"sqlite:///{folder / 'mlflow.db'}", folder) as address:
        yield address


def served(
    name: str, kind: str, use: Recommender, given: CSR, requests: int, folder: Path
) -> list[Served]:
    """Requests one after another, of one user and of 1,000, people known by their items."""
    lists = [given.row(int(row)).tolist() for row in np.flatnonzero(given.degrees() > 0)]
    found = []
    with server(use, folder) as address:
        for users in (1, 1_000):
            rows = [{"items": lists[n % len(lists)]} for n in range(users)]
            content = json.dumps({"dataframe_records": rows, "params": {"k": 10}}).encode()
            took = []
            for _ in range(requests + 3):
                asked = urllib.request.Request(
                    address, content, {"Content-Type": "application/json"}
                )
                began = time.perf_counter()
                with urllib.request.urlopen(asked, timeout=120) as answer:
                    got = json.loads(answer.read())["predictions"]
                took.append(1000 * (time.perf_counter() - began))
                assert len(got) == users
                assert {row["source"] for row in got} == {"items"}
            took = took[3:]  # the first ones compile and fill caches
            p99 = float(np.quantile(took, 0.99))
            found.append(Served(name, kind, users, requests, float(np.median(took)), p99))
    return found


# --- what is said ---------------------------------------------------------------------------------


def markdown(folded: list[FoldIn], over_http: list[Served], items: int, metric: str) -> str:
    """Tables of all that was measured."""
    head = (
        f"| data | model | fold-in from {items} items ({metric}) | retrained with them | ratio "
        f"(95% interval) | >= {WANTED:.0%} | ms a user, alone | ms a user, of 1,000 |"
    )
    lines = [head, "|---|---|---|---|---|---|---|---|"]
    lines += [
        f"| {one.data} | {one.kind} | {one.folded:.4f} | {one.retrained:.4f} | {one.ratio:.0%} "
        f"({one.low:.0%} to {one.high:.0%}) | {one.verdict} | {one.one_ms:.2f} | "
        f"{one.many_ms:.3f} |"
        for one in folded
    ]
    if over_http:
        lines += ["", "| over HTTP | users a request | requests | median ms | p99 ms |"]
        lines += ["|---|---|---|---|---|"]
        lines += [
            f"| {one.data}, {one.kind} | {one.users:,} | {one.requests} | {one.median_ms:.0f} | "
            f"{one.p99_ms:.0f} |"
            for one in over_http
        ]
    return "\n".join(lines)


def main() -> None:
    """Measure what is asked for, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    known = kinds()
    parser.add_argument("data", nargs="+", help="names or files")
    parser.add_argument("--kinds", help=f"of {', '.join([*known, BLEND])} (default: all)")
    parser.add_argument("--items", type=int, default=5, help="that a model is told of a stranger")
    parser.add_argument("--share", type=float, default=0.2, help="of the users that are strangers")
    parser.add_argument("--most", type=int, default=400, help="strangers")
    parser.add_argument("--trainings", type=int, default=2, help="with the strangers, of the mean")
    parser.add_argument("--requests", type=int, default=200, help="over HTTP; 0: none")
    parser.add_argument("--metric", default="map@50")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("-o", "--output", type=Path, help="all numbers as JSON")
    options = parser.parse_args()
    asked = options.kinds.split(",") if options.kinds else [*known, BLEND]
    if strange := [kind for kind in asked if kind not in (*known, BLEND)]:
        parser.error(f"--kinds: no {', '.join(strange)}: expected some of {', '.join(known)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is ended

    busy = [used_by_others(1.0)]
    folded: list[FoldIn] = []
    over_http: list[Served] = []
    for data in options.data:
        csr = load(data).interactions.csr
        strangers = Strangers.of(csr, options.share, options.most, options.items, options.seed)
        name = Path(data).name.split(".")[0]
        print(f"{name}: {strangers.count} strangers of {csr.n_users:,} users", flush=True)
        for kind in asked:
            fit = fit_of(kind, known, strangers.before, options.metric, options.seed)
            one, use = fold_in(name, kind, fit, strangers, options.metric, options.trainings)
            folded.append(one)
            print(f"  {kind}: {one.ratio:.0%} ({one.low:.0%} to {one.high:.0%})", flush=True)
            if options.requests and not over_http:
                with tempfile.TemporaryDirectory() as folder:
                    ask = (use, strangers.given, options.requests, Path(folder))
                    over_http += served(name, kind, *ask)
        busy.append(used_by_others(1.0))
    print()
    print(markdown(folded, over_http, options.items, options.metric))
    print(f"\nused by others: {min(busy):.0%} to {max(busy):.0%} of {os.cpu_count()} cores")
    if options.output is not None:
        found = {
            "options": {k: str(v) for k, v in vars(options).items()},
            "fold_in": [asdict(one) | {"verdict": one.verdict} for one in folded],
            "http": [asdict(one) for one in over_http],
            "used_by_others": busy,
        }
        options.output.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
