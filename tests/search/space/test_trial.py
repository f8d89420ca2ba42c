"""Trials as values; their seeds."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest

from recsys.errors import ConfigError
from search.space.load import load_spec
from search.space.trial import TrialConfig, trial_id, trial_seed


def test_seed_depends_on_run_and_config_alone() -> None:
    spec = load_spec("smoke")
    params = dict(spec.enqueue[0])
    a = TrialConfig.of(spec, params, 7)
    b = TrialConfig.of(spec, dict(reversed(params.items())), 7)
    assert a.seed == b.seed
    assert a.train == b.train
    assert a.params == params
    assert TrialConfig.of(spec, params, 8).seed != a.seed
    assert TrialConfig.of(spec, params | {"lr": 0.11}, 7).seed != a.seed


def test_seeds_are_63_bits_and_differ() -> None:
    seeds = {trial_seed(run, key) for run in range(50) for key in ("a", "b")}
    assert len(seeds) == 100
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62


def test_seed_is_the_same_in_every_process() -> None:
    code = "from search.space.trial import trial_seed; print(trial_seed(3, 'k'))"
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600
    )
    assert int(other.stdout) == trial_seed(3, "k")


def test_params_have_to_fit() -> None:
    with pytest.raises(ConfigError, match="method is missing"):
        TrialConfig.of(load_spec("smoke"), {"lr": 0.1}, 0)


def test_ids_sort_like_numbers() -> None:
    assert [trial_id(n) for n in (0, 7, 9999, 12345)] == ["t0000", "t0007", "t9999", "t12345"]


def test_copies_and_texts_of_a_trial_cost_nothing() -> None:
    """Ray makes several of each for every trial, and writes it into messages at every report."""
    spec = load_spec("bpr_hard")
    trial = TrialConfig.of(spec, spec.sample(np.random.default_rng(1)), 42, 7)
    assert copy.deepcopy({"trial": trial})["trial"] is trial
    assert repr(trial) == f"TrialConfig(seed={trial.seed}, number=7)"
    assert pickle.loads(pickle.dumps(trial)) == trial
