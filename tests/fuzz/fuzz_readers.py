"""Fuzzing the readers: any bytes give a valid data set or an `InputError` of one line.

The property is shared with the hypothesis tests. With atheris installed, for ten minutes:

    python tests/fuzz/fuzz_readers.py -max_total_time=600
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from recsys.data import describe_lines, load
from recsys.data.read import Dataset
from recsys.errors import InputError

SUFFIXES = (".csv", ".tsv", ".inter", ".data", ".dat", ".gz", ".xz", ".zip", ".parquet", "")


def check_dataset(data: Dataset) -> None:
    """Everything that the rest of the project relies on."""
    whole = data.interactions
    csr = whole.csr
    assert csr.nnz > 0
    assert csr.indptr[0] == 0 and (np.diff(csr.indptr) >= 0).all()
    assert csr.indices.min() >= 0 and csr.indices.max() < whole.n_items
    for user in range(min(csr.n_users, 200)):
        assert (np.diff(csr.row(user)) > 0).all()
        own = whole.rank[csr.indptr[user] : csr.indptr[user + 1]]
        assert sorted(own) == list(range(len(own)))
    for ids in (whole.user_ids, whole.item_ids):
        assert ids.dtype == np.int64 or all(isinstance(name, str) and name for name in ids)
        assert (ids[1:] > ids[:-1]).all()
    train = csr
    for ready in (data.ready_valid, data.ready_test):
        if ready is not None:
            assert (ready.n_users, ready.n_items) == (csr.n_users, csr.n_items)
    if data.ready_valid is not None:
        assert train.overlap(data.ready_valid) == data.ready_valid.nnz
    if data.ready_test is not None:
        assert train.overlap(data.ready_test) == 0
    assert all(line.isprintable() for line in describe_lines(data))


def check_file(path: Path, **options: object) -> str:
    """ "ok", or the message of the `InputError`; anything else propagates."""
    try:
        data = load(path, **options)  # type: ignore[arg-type]
    except InputError as error:
        message = str(error)
        assert message.isprintable(), message
        assert len(message) < 2000
        return message
    check_dataset(data)
    return "ok"


def check_bytes(content: bytes, suffix: str, min_rating: float | None) -> str:
    """Write `content` to a file and read it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"data{suffix}"
        path.write_bytes(content)
        return check_file(path, min_rating=min_rating)


def one_input(data: bytes) -> None:
    """First byte: suffix and whether ratings are cut; the rest: the file."""
    if data:
        suffix = SUFFIXES[data[0] % len(SUFFIXES)]
        check_bytes(data[1:], suffix, 3.0 if data[0] & 128 else None)


if __name__ == "__main__":
    try:
        import atheris
    except ImportError:
        sys.exit("atheris is not installed: pip install atheris")
    atheris.instrument_all()
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
