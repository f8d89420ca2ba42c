"""What a run is, decided from the space and the command line."""

from __future__ import annotations

import pytest

from search.record.settings import all_leaky
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
    assert not all_leaky(spec)
    assert all_leaky(override(spec, ["negatives_exclude=all"]))
    assert not all_leaky(load_spec("report_table"))
    assert all_leaky(override(spec, ["negatives_exclude={choice: [all]}"]))
    assert not all_leaky(override(spec, ["negatives_exclude={choice: [all, train]}"]))


def test_the_split_of_a_space():
    plan = override(load_spec("bpr_hard"), ["split.order=latest", "split.valid.fixed=3"]).split
    assert plan.order == "latest"
    assert str(plan.test) == "ratio 0.1"
    assert str(plan.valid) == "fixed 3"
