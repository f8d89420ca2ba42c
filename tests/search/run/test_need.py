"""Methods that the machine has no memory for are left out, with a line, before anything starts."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.errors import ConfigError
from recsys.models.base import Size
from search.run.need import WORKER, fit_memory
from search.space.load import load_spec

SMALL = Size(1_000, 800, 50_000)
WIDE = Size(100_000, 60_000, 2_000_000)
GB = 10**9


def test_what_fits_is_left_alone() -> None:
    told: list[str] = []
    spec = load_spec("all")
    assert fit_memory(spec, SMALL, 8 * GB, 2, 1, told.append) is spec
    assert told == []


def test_a_method_without_room_is_left_out(tmp_path) -> None:
    path = tmp_path / "two.yaml"
    path.write_text(
        "params:\n  model: {choice: [ease, popularity]}\n  ease_l2: {low: 1, high: 100}\n"
        "enqueue:\n  - {model: ease, ease_l2: 5}\n  - {model: popularity}\n"
    )
    told: list[str] = []
    spec = fit_memory(load_spec(str(path)), WIDE, 24 * GB, 2, 1, told.append)
    drawn = spec.sample(np.random.default_rng(1))
    assert spec.train_config(drawn).model == "popularity"
    assert [dict(pairs)["model"] for pairs in spec.enqueue] == ["popularity"]
    (line,) = told
    assert line.startswith("left out: ease, of which 2 trials at a time on 60,000 items would need")
    assert line.endswith("of this machine's 24.0 GB of memory")


def test_nothing_fits() -> None:
    with pytest.raises(ConfigError, match=r"need at least .* GB, and this machine has 0.6 GB"):
        fit_memory(load_spec("bpr_hard"), WIDE, 6 * 10**8, 2, 1, print)


def test_a_part_that_is_too_large_is_noted() -> None:
    told: list[str] = []
    spec = load_spec("bpr_hard", ["latent_factors={choice: [8, 2048]}"])
    memory = int(2.5 * (2 * WORKER))
    assert fit_memory(spec, WIDE, memory, 2, 1, told.append) is spec
    (line,) = told
    assert line.startswith("note: the largest models of this space need")
