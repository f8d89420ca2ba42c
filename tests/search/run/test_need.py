"""Methods that there is no memory for are left out, with a line, before anything starts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recsys.errors import ConfigError
from recsys.models.base import Size
from search.machine.nodes import Place
from search.run import start
from search.run.need import fit_memory, fit_nodes
from search.run.start import Options, run_search
from search.space.load import load_spec
from search.space.spec import SearchSpec
from search.tune.need import WORKER, trial_bytes

SMALL = Size(1_000, 800, 50_000)
WIDE = Size(100_000, 60_000, 2_000_000)
GB = 10**9


def test_what_fits_is_left_alone() -> None:
    told: list[str] = []
    spec = load_spec("all")
    assert fit_memory(spec, SMALL, 8 * GB, 2, 1, told.append) is spec
    assert told == []


@pytest.fixture
def two(tmp_path: Path) -> SearchSpec:
    """A space of EASE and popularity."""
    path = tmp_path / "two.yaml"
    path.write_text(
        "params:\n  model: {choice: [ease, popularity]}\n  ease_l2: {low: 1, high: 100}\n"
        "enqueue:\n  - {model: ease, ease_l2: 5}\n  - {model: popularity}\n"
    )
    return load_spec(str(path))


def test_a_method_without_room_is_left_out(two: SearchSpec) -> None:
    told: list[str] = []
    spec = fit_memory(two, WIDE, 24 * GB, 2, 1, told.append)
    drawn = spec.sample(np.random.default_rng(1))
    assert spec.train_config(drawn).model == "popularity"
    assert [dict(pairs)["model"] for pairs in spec.enqueue] == ["popularity"]
    (line,) = told
    assert line.startswith("left out: ease: 2 trials at a time on 60,000 items would need")
    assert line.endswith(" GB, and this machine has 24.0 GB of memory")


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


def test_on_a_cluster_the_largest_node_decides(two: SearchSpec) -> None:
    told: list[str] = []
    assert fit_nodes(two, SMALL, GB, 1, told.append) is two
    spec = fit_nodes(two, WIDE, 24 * GB, 1, told.append)
    assert [dict(pairs)["model"] for pairs in spec.enqueue] == ["popularity"]
    (line,) = told
    assert line.startswith("left out: ease: trials on 60,000 items would need")
    assert line.endswith(" GB, and the node with the most memory offers 24.0 GB")
    with pytest.raises(ConfigError, match=r"trials on 60,000 items need at least .* 0.1 GB: exp"):
        fit_nodes(two, WIDE, GB // 10, 1, told.append)


def test_a_config_that_fits_on_no_node_is_refused_by_name() -> None:
    spec = load_spec("bpr_hard", ["latent_factors={choice: [8, 2048]}"])
    config = next(c for c in spec.examples() if c.to_flat()["latent_factors"] == 2048)
    needed = trial_bytes(config, WIDE, 1)
    assert fit_nodes(spec, WIDE, needed, 1, print) is spec
    with pytest.raises(ConfigError, match=r"with bpr-hard d=2048 .* need .* GB of memory, and"):
        fit_nodes(spec, WIDE, needed - 1, 1, print)


def test_a_new_run_looks_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(start, "usable_memory", lambda: WORKER)
    options = Options(space="bpr_hard", data="demo", runs_dir=tmp_path / "runs")
    with pytest.raises(ConfigError, match=r"need at least .* and this machine has 0.3 GB"):
        run_search(options)
    assert not (tmp_path / "runs").exists()


def test_a_joined_cluster_is_not_this_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = Place(memory=WORKER // 2)
    monkeypatch.setattr(start, "check_place", lambda *_: place)
    options = Options(space="bpr_hard", data="demo", runs_dir=tmp_path / "runs", address="there:1")
    with pytest.raises(ConfigError, match=r"the node with the most memory offers 0.1 GB"):
        run_search(options)
