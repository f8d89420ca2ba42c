"""What a run is, decided from the space and the command line."""

from __future__ import annotations

from search.record.settings import all_leaky, plan_of
from search.space.load import load_spec
from search.space.override import GPU_BATCH
from tests.search.spaces import override


def batch(spec):
    return spec.train_config(dict(spec.enqueue[0])).batch_size


def test_online_updates_become_batches_on_a_gpu():
    spec = load_spec("bpr_hard")
    assert batch(spec) == 1
    on_gpu = load_spec("bpr_hard", gpu=True)
    assert batch(on_gpu) == GPU_BATCH
    assert on_gpu == override(spec, [f"batch_size={GPU_BATCH}"])
    assert batch(load_spec("bpr_hard", ["batch_size=512"], gpu=True)) == 512
    assert batch(load_spec("bpr_hard", ["batch_size=1"], gpu=True)) == GPU_BATCH


def test_a_space_in_which_everything_leaks_is_known():
    spec = load_spec("bpr_hard")
    assert not all_leaky(spec)
    assert all_leaky(override(spec, ["negatives_exclude=all"]))
    assert not all_leaky(load_spec("report_table"))


def test_the_split_of_a_space():
    plan = plan_of(override(load_spec("bpr_hard"), ["split.order=latest", "split.valid.fixed=3"]))
    assert plan.order == "latest"
    assert str(plan.test) == "ratio 0.1"
    assert str(plan.valid) == "fixed 3"
