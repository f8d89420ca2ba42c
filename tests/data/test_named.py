"""Named sets: real MovieLens where it can be fetched, and the cache with made-up sets."""

import hashlib
import io
import threading
import zipfile
from dataclasses import replace

import pytest

from recsys.data import SETS, describe, load
from recsys.data.named import NamedSet, Official, Wheel, cache_folder, fetch
from recsys.errors import InputError
from recsys.split import SplitPlan, make_split

CONTENT = b"1\t2\t5\t900000000\n3\t4\t5\t900000001\n"


@pytest.fixture
def ml100k():
    try:
        return load("ml-100k")
    except InputError as error:
        pytest.skip(f"MovieLens 100K cannot be fetched here: {error}")


def test_movielens_100k(ml100k):
    facts = describe(ml100k)
    assert (facts["users"], facts["items"], facts["positives"]) == (942, 1447, 55375)
    assert facts["duplicates"] == 0
    assert ml100k.interactions.ordered
    assert ml100k.interactions.name == "ml-100k (rating >= 4)"
    everything = load("ml-100k", min_rating=1)
    assert describe(everything)["users"] == SETS["ml-100k"].users
    assert describe(everything)["items"] == SETS["ml-100k"].items
    assert everything.interactions.nnz == SETS["ml-100k"].rows


def test_movielens_divides_as_the_report_says(ml100k):
    split = make_split(ml100k, SplitPlan(), 42)
    counts = ml100k.interactions.csr.degrees()
    assert split.test.nnz == (counts // 10).sum()
    assert split.valid.nnz == ((counts - counts // 10) // 10).sum()


def archive(member: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr(member, content)
    return out.getvalue()


@pytest.fixture
def served(tmp_path):
    """A made-up set whose official address is a file."""
    packed = archive("x/u.data", CONTENT)
    (tmp_path / "x.zip").write_bytes(packed)
    source = Official((tmp_path / "x.zip").as_uri(), hashlib.sha256(packed).hexdigest(), "x/u.data")
    pin = hashlib.sha256(CONTENT).hexdigest()
    return NamedSet("x", "", "", 2, 2, 2, file="u.data", sha256=pin, sources=(source,))


def test_a_cached_file_is_not_fetched_again_and_a_damaged_one_is(served, tmp_path):
    told: list[str] = []
    path = fetch(served, tmp_path / "cache", told.append)
    assert path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == ["u.data"]
    fetch(served, tmp_path / "cache", told.append)
    assert len(told) == 1
    path.write_bytes(CONTENT[:-5])
    fetch(served, tmp_path / "cache", told.append)
    assert path.read_bytes() == CONTENT
    assert "damaged, fetching it again" in told[1]


@pytest.mark.parametrize("what", ["archive", "content", "missing", "no zip"])
def test_what_does_not_match_its_checksum_is_never_kept(served, tmp_path, what):
    source = served.sources[0]
    target = tmp_path / "x.zip"
    if what == "archive":
        target.write_bytes(archive("x/u.data", CONTENT + b" "))
    elif what == "content":
        served = replace(served, sha256="0" * 64)
    elif what == "missing":
        target.unlink()
    else:
        target.write_bytes(b"no zip")
        source = replace(source, sha256=hashlib.sha256(b"no zip").hexdigest())
        served = replace(served, sources=(source,))
    with pytest.raises(InputError) as caught:
        fetch(served, tmp_path / "cache", lambda _: None)
    assert "\n" not in str(caught.value)
    assert "x cannot be fetched" in str(caught.value)
    assert not list((tmp_path / "cache").rglob("*.data"))


def test_the_next_source_is_tried(served, tmp_path):
    gone = Official((tmp_path / "gone.zip").as_uri(), "0" * 64, "x/u.data")
    served = replace(served, sources=(gone, *served.sources))
    assert fetch(served, tmp_path / "cache", lambda _: None).read_bytes() == CONTENT


def test_a_package_that_does_not_exist_is_one_line(served, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    wheel = Wheel("recbole==1.2.1", "0" * 64, "x")
    with pytest.raises(InputError, match=r"the package recbole==1\.2\.1: pip download failed") as e:
        fetch(replace(served, sources=(wheel,)), tmp_path / "cache", lambda _: None)
    assert "\n" not in str(e.value)


def test_many_fetch_at_once(served, tmp_path):
    paths, errors = [], []

    def work() -> None:
        try:
            paths.append(fetch(served, tmp_path / "cache", lambda _: None))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(paths) == 8
    assert [p.name for p in paths[0].parent.iterdir()] == ["u.data"]


def test_a_cache_that_cannot_be_written(served, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(InputError, match=r"cannot be written .* RECSEARCH_CACHE"):
        fetch(served, tmp_path / "cache", lambda _: None)


def test_where_the_cache_is(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSEARCH_CACHE", str(tmp_path / "env"))
    assert cache_folder() == tmp_path / "env"
    assert cache_folder(tmp_path) == tmp_path
    monkeypatch.delenv("RECSEARCH_CACHE")
    assert cache_folder().name == "recsearch"


def test_options_that_named_sets_do_not_have():
    with pytest.raises(InputError, match="demo set has no ratings"):
        load("demo", min_rating=3)
    with pytest.raises(InputError, match="needs none"):
        load("ml-100k", columns={"user": "u"})
    with pytest.raises(InputError, match="seed is -1"):
        load("demo", seed=-1)
