"""What a run is, decided from the space and the command line."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace

import pytest

from recsys.errors import InputError
from search.record.events import SessionBegan, read, write
from search.record.settings import known_settings, settings_of
from search.record.state import RunState
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


# A first line as the first version that kept settings wrote it.
OLD = (
    '{"t":"run","name":"r","settings":{"data":"demo","min_rating":null,"columns":null,"seed":3,'
    '"trials":8,"time_budget":null,"cpus_per_trial":1,"gpus_per_trial":0.0,"device":"cpu",'
    '"address":null,"storage":null,"tracking_uri":"sqlite:///x.db","split_digest":"9f"},"time":1.5}'
)


def state_of(line: str) -> RunState:
    state = RunState()
    state.apply(read(json.loads(line)), len(line))
    return state


def test_settings_of_earlier_versions_are_read_and_their_run_keeps_its_uid():
    state = state_of(OLD)
    settings = settings_of(state)
    assert (settings.data, settings.seed, settings.split_digest) == ("demo", 3, "9f")
    assert (settings.submission_sep, settings.settles, settings.ids_digest) == (" ", False, "")
    canonical = json.dumps(json.loads(OLD), sort_keys=True)
    assert state.uid == hashlib.sha256(canonical.encode()).hexdigest()[:16]
    assert json.dumps(write(read(json.loads(OLD))), separators=(",", ":")) == OLD


def test_settings_of_later_versions_keep_what_is_not_known_here():
    line = OLD.replace('"seed":3', '"seed":3,"speed":9')
    assert settings_of(state_of(line)) == settings_of(state_of(OLD))
    assert state_of(line).uid != state_of(OLD).uid
    assert '"speed"' in json.dumps(write(read(json.loads(line))))


@pytest.mark.parametrize("settings", ["null", "{}", '{"seed": 3}'])
def test_a_journal_that_lacks_settings_is_damaged(settings):
    state = state_of(f'{{"t": "run", "name": "r", "settings": {settings}}}')
    assert known_settings(state) is None
    with pytest.raises(InputError, match="journal lacks settings"):
        settings_of(state)


def test_settings_are_those_of_the_last_session():
    state = state_of(OLD)
    later = asdict(replace(settings_of(state), trials=20))
    state.apply(SessionBegan(settings=later), 1)
    assert settings_of(state).trials == 20
    state.apply(SessionBegan(name="r"), 2)
    assert settings_of(state).trials == 20
