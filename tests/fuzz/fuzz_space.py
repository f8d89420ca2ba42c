"""Fuzzing the space parser: any bytes give a spec that works and reads back, or one ConfigError.

With atheris installed, for ten minutes:

    python tests/fuzz/fuzz_space.py -max_total_time=600
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from recsys.errors import ConfigError
from recsys.yamlio import parse_yaml
from search.space.load import MAX_BYTES
from search.space.located import Origin
from search.space.reader import parse_spec
from tests.search.spaces import override


def check_space(data: bytes) -> None:
    """The property; `data` is a space file, with settings after a NUL if there is one."""
    text, _, setting = data[:MAX_BYTES].decode("utf-8", "replace").partition("\0")
    try:
        spec = parse_spec(parse_yaml(text, "fuzz"), Origin("fuzz", text), "fuzz")
        if setting:
            spec = override(spec, [setting])
    except ConfigError as error:
        assert "\n" not in str(error)
        return
    rng = np.random.default_rng(0)
    for _ in range(3):
        spec.train_config(spec.sample(rng))
    for entry in spec.enqueue:
        spec.train_config(dict(entry))
    again = parse_yaml(spec.to_yaml(), "again")
    assert parse_spec(again, Origin("again"), "again") == spec


def main() -> None:
    import atheris

    atheris.instrument_all()
    atheris.Setup(sys.argv, check_space)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
