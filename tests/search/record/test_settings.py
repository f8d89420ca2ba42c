"""What a run is, decided from the space and the command line."""

from __future__ import annotations

import pytest

from search.space.load import for_gpu, load_spec
from tests.search.spaces import override


def batch(spec):
    return spec.train_config(dict(spec.enqueue[0])).batch_size


@pytest.mark.parametrize(
    ("positives", "size"),
    [(50, 512), (34_947, 1024), (168_446, 4096), (742_879, 16_384), (10**8, 65_536)],
)
def test_online_updates_become_batches_on_a_gpu(positives, size):
    """At least 32 steps an epoch, of a power of two."""
    spec = load_spec("bpr_hard")
    assert batch(spec) == 1
    on_gpu, used = for_gpu(spec, positives)
    assert batch(on_gpu) == used == size
    assert on_gpu == override(spec, [f"batch_size={size}"])
    chosen = load_spec("bpr_hard", ["batch_size=256"])
    assert for_gpu(chosen, positives) == (chosen, None)


def test_a_space_in_which_everything_leaks_is_known():
    spec = load_spec("bpr_hard")
    assert not spec.leaky()
    assert override(spec, ["negatives_exclude=all"]).leaky()
    assert not load_spec("report_table").leaky()
    assert override(spec, ["negatives_exclude={choice: [all]}"]).leaky()
    assert not override(spec, ["negatives_exclude={choice: [all, train]}"]).leaky()


@pytest.mark.parametrize(("second", "all_do"), [("all", True), ("train", False)])
def test_a_leak_in_named_sets_is_known(tmp_path, second, all_do):
    path = tmp_path / "sets.yaml"
    path.write_text(
        "searcher: random\nscheduler: none\nmetric: map@10\ntrials: 2\nmax_epochs: 2\n"
        "params:\n  loss: bpr\n  lr: 0.1\n  latent_factors: 8\n"
        "  sampling:\n    choice:\n"
        "      one: {neg_mode: even, negatives_exclude: all}\n"
        f"      other: {{neg_mode: fixed, neg_sample_num: 3, negatives_exclude: {second}}}\n"
    )
    assert load_spec(str(path)).leaky() is all_do


def test_the_split_of_a_space():
    plan = override(load_spec("bpr_hard"), ["split.order=latest", "split.valid.fixed=3"]).split
    assert plan.order == "latest"
    assert str(plan.test) == "ratio 0.1"
    assert str(plan.valid) == "fixed 3"
