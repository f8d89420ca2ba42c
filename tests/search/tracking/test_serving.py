"""The champion behind `mlflow models serve`: what a team's own program would ask it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.interactions import CSR, Interactions
from recsys.models import config_from_flat, fit_model
from recsys.models.catalogue import save_catalogue
from recsys.models.saved import save_model
from tests.factories import FakeRun
from tests.search.tracking.tracking_help import deliver, model_server, query, sqlite_store

USERS, ITEMS = 1000, 300


@contextmanager
def served(tmp_path: Path, words: bool) -> Iterator[str]:
    """The address of a served factorization of 1,000 users, delivered and registered."""
    uri = sqlite_store(tmp_path / "store")
    run = FakeRun(tmp_path / "runs", "a")
    run.trial()
    rng = np.random.default_rng(0)
    everyone = np.concatenate([np.arange(USERS), rng.integers(0, USERS, 9000)])
    seen = CSR.from_pairs(everyone, rng.integers(0, ITEMS, len(everyone)), USERS, ITEMS)
    config = config_from_flat({"lr": 0.1, "epochs": 1, "latent_factors": 16})
    save_model(run.path / "model", fit_model(config, seen, rng=rng).to_bytes(), config)
    names = [
        np.array([f"{kind} {n}é" for n in range(size)], object) if words else np.arange(size) + 7
        for kind, size in (("user", USERS), ("item", ITEMS))
    ]
    there = Interactions(seen, np.zeros(seen.nnz), *names, ordered=False)
    save_catalogue(run.path / "model", there, seen)
    run.finish()
    run.close()
    assert deliver(run, uri)
    ((source,),) = query(uri, "select source from model_versions")
    with model_server(source, uri, tmp_path) as address:
        yield address


def post(address: str, rows: list[dict[str, Any]], **params: Any) -> list[dict[str, Any]]:
    content = json.dumps({"dataframe_records": rows, "params": params}).encode()
    request = urllib.request.Request(address, content, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        text = answer.read().decode()
    found: list[dict[str, Any]] = json.loads(text, parse_constant=pytest.fail)["predictions"]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("words", [False, True], ids=["numbers", "words"])
def test_the_model_answers_over_http(words: bool, tmp_path: Path) -> None:
    def user(n: int) -> Any:
        return f"user {n}é" if words else n + 7

    def item(n: int) -> Any:
        return f"item {n}é" if words else n + 7

    known = {item(n) for n in range(ITEMS)}
    with served(tmp_path, words) as address:
        everybody = post(address, [{"user_id": user(n)} for n in range(USERS)], k=10)
        assert [row["user_id"] for row in everybody] == [user(n) for n in range(USERS)]
        assert {row["source"] for row in everybody} == {"model"}
        for row in everybody:
            assert len(set(row["item_ids"])) == len(row["scores"]) == 10
            assert known.issuperset(row["item_ids"])
            assert row["scores"] == sorted(row["scores"], reverse=True)
        mixed = post(
            address,
            [
                {"user_id": user(5)},
                {"items": [item(3), item(4), "never seen"]},
                {"user_id": "a stranger"},
                {"similar_to": item(9)},
            ],
            k=3,
            exclude=[item(0)],
            candidates=[item(n) for n in range(50)],
        )
        assert [row["source"] for row in mixed] == ["model", "items", "popular", "similar"]
        assert [row["unknown_items"] for row in mixed] == [[], ["never seen"], [], []]
        few = {item(n) for n in range(1, 50)}
        assert all(len(row["item_ids"]) == 3 and few.issuperset(row["item_ids"]) for row in mixed)
        refusals: list[tuple[list[dict[str, Any]], dict[str, Any], str]] = [
            ([{"nobody": 1}], {}, "expected a column user_id, items or similar_to"),
            ([{"user_id": user(1)}], {"k": 0}, "k: expected a whole number from 1, got 0"),
            ([{"user_id": user(1)}], {"k": 1.5}, "Can not safely convert"),
            ([{"similar_to": item(1), "items": [item(2)]}], {}, "row 0: has similar_to and items"),
            ([{"similar_to": [item(1)]}], {}, "row 0: similar_to: expected an id"),
            ([{"user_id": 2**53 + 1}, {"items": [item(1)]}], {}, "send the id as a text"),
        ]
        for bad, params, why in refusals:
            with pytest.raises(urllib.error.HTTPError) as caught:
                post(address, bad, **params)
            said = caught.value.read().decode()
            assert caught.value.code == 400, said
            assert why in said
            assert "Traceback" not in said
        (nothing,) = post(address, [{"user_id": user(1)}], candidates=[])
        assert (nothing["item_ids"], nothing["unknown_candidates"]) == ([], 0)
        (far,) = post(address, [{"similar_to": "never seen"}])
        assert (far["item_ids"], far["source"]) == ([], "unknown")
        rows = [{"items": [item((n + i) % ITEMS) for i in range(5)]} for n in range(1000)]
        folded = post(address, rows, k=10)
        assert {row["source"] for row in folded} == {"items"}
        assert not any(
            set(row["items"]) & set(got["item_ids"]) for row, got in zip(rows, folded, strict=True)
        )
