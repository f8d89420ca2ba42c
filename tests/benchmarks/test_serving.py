"""The benchmark of models in use: who is a stranger, and what a ratio says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.serving import BLEND, FoldIn, Strangers, fit_of, fold_in, kinds, markdown
from recsys.data import load
from recsys.models import MODELS


def test_strangers_are_told_apart_from_the_others() -> None:
    csr = load("demo").interactions.csr
    found = Strangers.of(csr, 0.2, 40, 5, seed=3)
    assert found.count == 40
    strange = found.given.degrees() > 0
    assert strange.sum() == 40
    assert not found.before.degrees()[strange].any()  # no model has seen them
    assert (found.given.degrees()[strange] == 5).all()
    whole = found.before.union(found.given).union(found.answers)
    assert whole.digest() == csr.digest()
    others = Strangers.of(csr, 0.2, 40, 5, seed=4)
    assert (others.given.degrees() > 0).tolist() != strange.tolist()


def test_every_kind_of_model_is_measured() -> None:
    models = {config.model for config in kinds().values()}
    assert models == MODELS.keys() - {"popularity"}  # which is the same for everybody


def test_a_linear_model_folds_in_what_it_would_have_learned() -> None:
    strangers = Strangers.of(load("demo").interactions.csr, 0.2, 30, 5, seed=3)
    for kind in ("ease", BLEND):
        known = {name: config.for_epochs(3) for name, config in kinds().items()}
        fit = fit_of(kind, known, strangers.before, "map@20", 0)
        found, use = fold_in("demo", kind, fit, strangers, "map@20", 1)
        assert use.seen.digest() == strangers.before.digest()
        assert found.users == 30
        assert found.low <= found.ratio <= found.high
        assert found.ratio > 0.8
        assert np.isclose(found.folded, found.ratio * found.retrained)


def test_the_verdict_needs_the_interval_to_say_no() -> None:
    one = FoldIn("d", "k", 9, 0.1, 0.1, 0.96, 0.9, 1.0, 0.1, 0.01)
    assert one.verdict == "yes"
    assert replace(one, ratio=0.94).verdict == "not told apart"
    assert replace(one, ratio=0.9, low=0.85, high=0.94).verdict == "no"
    assert "| d | k | 0.1000 | 0.1000 | 96% (90% to 100%) | yes |" in markdown([one], [], 5, "m")
