"""Whatever a space file or a setting says, the answer is a usable spec or one ConfigError."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from recsys.errors import ConfigError
from search.paths import SPACES
from search.space.domains import FIELDS
from search.space.load import for_gpu, load_spec, read_space, space_names
from search.space.located import Origin
from search.space.params import PARAM_KEYS
from search.space.reader import KEYS, parse_spec
from tests.fuzz.fuzz_space import check_space
from tests.search.spaces import override

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from(["bpr", "bce", "hard", "even", "adam", "tpe", "map@50", "10m", "none", ""])
    | st.text(max_size=8)
)
keys = st.sampled_from([*KEYS, *FIELDS, *PARAM_KEYS, "ratio", "fixed", "order", "method"])
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(keys | st.text(), inner, max_size=4)
    ),
    max_leaves=12,
)
small = st.one_of(st.integers(-1, 4), st.sampled_from([0.0, 0.1, 0.5, 1.0, 1e-4, 9.0]))
domains = st.one_of(
    small,
    scalars,
    st.fixed_dictionaries(
        {"low": small, "high": small},
        optional={"log": st.booleans(), "step": small, "when": values},
    ),
    st.fixed_dictionaries({"choice": st.lists(small | scalars, max_size=4)}),
    st.fixed_dictionaries(
        {
            "choice": st.dictionaries(
                st.sampled_from(["a", "b", "c"]),
                st.dictionaries(st.sampled_from(list(FIELDS)), small | scalars, max_size=3),
                max_size=3,
            )
        }
    ),
)
spaces = st.fixed_dictionaries(
    {
        "params": st.dictionaries(
            st.sampled_from([*FIELDS, "method", "epochs", "nonsense"]), domains, max_size=5
        ).map(lambda params: {"lr": {"low": 0.1, "high": 1}} | params)
    },
    optional={key: values for key in (*KEYS, "mode") if key != "params"},
)


def usable(value: object) -> None:
    """Either a spec whose configs can be built and which reads back, or one line of error."""
    try:
        spec = parse_spec(value, Origin("fuzz"), "fuzz")
    except ConfigError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 2000
        return
    rng = np.random.default_rng(0)
    for _ in range(3):
        spec.train_config(spec.sample(rng))
    assert parse_spec(spec.to_dict(), Origin("again"), "again") == spec
    spec.digest()


@given(values)
@settings(max_examples=100, deadline=None)
def test_any_value(value: object) -> None:
    usable(value)


@given(spaces)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_nearly_spaces(value: object) -> None:
    usable(value)


@given(
    st.binary(max_size=60)
    | st.text(max_size=60).map(str.encode)
    | spaces.map(lambda value: str(value).encode("utf-8", "replace"))
    | spaces.map(lambda value: json.dumps(value).encode("utf-8", "replace"))
)
@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_file(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "fuzz.yaml"
    path.write_bytes(data)
    try:
        load_spec(str(path))
    except ConfigError as error:
        assert "\n" not in str(error)
        assert "fuzz.yaml" in str(error)
    check_space(data)


def mutated(seed: int) -> bytes:
    """A space of the project with a few places changed, as a slip of the fingers would."""
    rng = np.random.default_rng(seed)
    names = space_names()
    data = bytearray((SPACES / f"{names[int(rng.integers(len(names)))]}.yaml").read_bytes())
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.integers(len(data)))
        match int(rng.integers(4)):
            case 0:
                del data[at : at + int(rng.integers(1, 12))]
            case 1:
                data[at:at] = data[at - 9 : at]
            case 2:
                data[at] = int(rng.integers(256))
            case _:
                data[at:at] = b'{}[]:,-#*&!"0.e9\n '[int(rng.integers(18)) :][:1]
    return bytes(data)


@pytest.mark.parametrize("seed", range(60))
def test_spaces_with_slips(seed: int) -> None:
    check_space(mutated(seed))


ALL = load_spec("all")


any_settings = st.lists(
    st.builds(
        "{}={}".format,
        st.sampled_from(
            [*KEYS, *FIELDS, "method", "params.lr.high", "params.margin.when", "split.valid"]
        )
        | st.text(max_size=8),
        scalars | values,
    ),
    min_size=1,
    max_size=3,
)


@given(values | spaces, any_settings, st.integers(0, 10**9))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_value_with_any_setting(value: object, settings_: list[str], positives: int) -> None:
    """What a file holds is not looked at before it is changed, and stays as it is."""
    before = repr(value)
    try:
        spec = read_space(value, Origin("fuzz"), "fuzz", settings_, trials=3)
    except ConfigError as error:
        assert "\n" not in str(error)
    else:
        for one in (spec, for_gpu(spec, positives)[0]):
            one.train_config(one.sample(np.random.default_rng(0)))
            assert parse_spec(one.to_dict(), Origin("again"), "again") == one
    assert repr(value) == before


@given(any_settings)
@example(["method={}"])
@example(["method=[[]]"])
@example(["params.method.choice={a: 1}", "lr=0.1"])
@settings(max_examples=100, deadline=None)
def test_any_setting(settings_: list[str]) -> None:
    try:
        spec = override(ALL, settings_)
    except ConfigError as error:
        assert "\n" not in str(error)
        return
    for entry in spec.enqueue:
        spec.train_config(dict(entry))
    spec.train_config(spec.sample(np.random.default_rng(0)))


@pytest.mark.parametrize(
    "text",
    [
        "params: {latent_factors: {low: 1, high: 8192}, lr: {low: 1e-9, high: 1, step: 1e-9}}\n"
        "searcher: grid\n",
        "params: {lr: 1, neg_mode: fixed, neg_sample_num: {low: 1, high: 100000}, "
        "latent_factors: {low: 1, high: 8192}, batch_size: {low: 1, high: 9999999}}\n"
        "searcher: grid\n",
        "a: &a [x, x]\nb: &b [*a, *a]\nparams: *b\n",
        "params: {lr: " + "1" * 5000 + "}\n",
        "[" * 10000,
        "[" * 100000,
        "trials: 99999999\n",
        "enqueue: [" + "1," * 3000 + "]\nparams: {lr: 1}\n",
        "enqueue: [" + "1," * 100000 + "]\nparams: {lr: 1}\n",
    ],
)
def test_a_small_file_stays_small(text: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb.yaml"
    path.write_text(text)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ConfigError):
        load_spec(str(path))
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 200 * 1024
