"""What a trial asks of a node's memory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from recsys.interactions import no_pairs
from recsys.models.base import Size
from recsys.models.ease import EaseConfig
from recsys.models.ials import IalsConfig
from search.machine.cluster import Resources
from search.tune.need import STEP, WORKER, asked_bytes, task_bytes, trial_bytes, usual_bytes
from search.tune.tuner import asked_by
from search.tune.worker import TrialData

SIZE = Size(1_000, 20_000, 50_000)
SMALL, LARGE = IalsConfig(ials_factors=8), EaseConfig()


def test_a_trial_takes_its_model_the_scores_of_a_block_and_the_libraries() -> None:
    more = trial_bytes(LARGE, Size(1_000, 20_001, 50_000), 1) - trial_bytes(LARGE, SIZE, 1)
    assert trial_bytes(SMALL, SIZE, 1) > WORKER
    assert more > 12 * (20_001**2 - 20_000**2)  # three matrices in single precision
    assert trial_bytes(SMALL, SIZE, 4) > trial_bytes(SMALL, SIZE, 1)


def test_asked_is_the_step_above_or_the_largest_node() -> None:
    steps = {asked_bytes(IalsConfig(ials_factors=d), SIZE, 1, 10**12) for d in range(8, 128)}
    assert len(steps) <= 2  # workers are kept from one trial to the next
    for config in (SMALL, LARGE):
        asked = asked_bytes(config, SIZE, 1, 10**12)
        assert asked / 2 < trial_bytes(config, SIZE, 1) <= asked
        assert (asked // STEP).bit_count() == 1
        assert asked % STEP == 0
    assert asked_bytes(LARGE, SIZE, 1, 10**9) == 10**9


def test_a_task_asks_what_the_largest_of_its_kind_takes() -> None:
    alone = Resources(1, 0.0, 2, 2)
    assert task_bytes(alone, [LARGE], SIZE) == 0
    there = Resources(1, 0.0, 2, 2, largest=10**12)
    assert task_bytes(there, [SMALL, LARGE], SIZE) == asked_bytes(LARGE, SIZE, 1, 10**12)
    assert task_bytes(there, [], SIZE) == 0


def test_a_task_asks_for_what_it_holds_beside() -> None:
    """Trained models alone, or beside a training; rounded like all that is asked for."""
    there = Resources(1, 0.0, 2, 2, largest=10**12)
    held = task_bytes(there, [], SIZE, 3 * 10**9)
    assert held / 2 < 3 * 10**9 + WORKER < held
    assert (held // STEP).bit_count() == 1
    both = task_bytes(there, [LARGE], SIZE, 3 * 10**9)
    assert both > trial_bytes(LARGE, SIZE, 1) + 3 * 10**9
    assert task_bytes(Resources(1, 0.0, 2, 2, largest=10**9), [], SIZE, 3 * 10**9) == 10**9
    assert task_bytes(Resources(1, 0.0, 2, 2), [], SIZE, 3 * 10**9) == 0


def test_on_average_a_trial_asks_for_less_than_the_largest() -> None:
    """A space with one large method is not planned as if all trials were of that one."""
    small, large = (asked_bytes(config, SIZE, 1, 10**12) for config in (SMALL, LARGE))
    assert usual_bytes([LARGE], SIZE, 1, 10**12) == large
    assert usual_bytes([SMALL, SMALL, SMALL, LARGE], SIZE, 1, 10**12) == (3 * small + large) // 4


def test_tune_gets_it_trial_by_trial() -> None:
    train = no_pairs(SIZE.users, SIZE.items)
    data = TrialData(train, train, None, "map@5", ("map@5",), (), 1, "cpu")
    assert asked_by(Resources(1, 0.0, 2, 2), data) == {"cpu": 1, "gpu": 0.0}
    each: Any = asked_by(Resources(1, 0.0, 2, 2, 10**12), data)
    for config in (SMALL, LARGE):
        made = each({"trial": SimpleNamespace(train=config)})
        size = Size(SIZE.users, SIZE.items, 0)
        assert made.bundles == [{"CPU": 1.0, "memory": asked_bytes(config, size, 1, 10**12)}]
        assert made is each({"trial": SimpleNamespace(train=config)})  # or no worker is kept
