"""Addresses of stores: paths of every spelling, passwords that are kept nowhere, drivers."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

from recsys.errors import ConfigError
from search.tracking import address
from search.tracking.address import (
    HIDDEN,
    PASSWORD,
    keep_password,
    missing_driver,
    split_password,
    sqlite_file,
    sqlite_uri,
    with_password,
)
from search.words import hide_password

NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)
PATHS = st.lists(NAMES.filter(lambda n: n not in (".", "..")), min_size=1, max_size=4).map(
    lambda names: Path("/", *names)
)


@settings(deadline=None)
@given(PATHS)
def test_a_path_comes_back_from_its_address(path: Path) -> None:
    uri = sqlite_uri(path)
    assert sqlite_file(uri) == path
    assert make_url(uri).database == str(path)  # what MLflow will open
    assert split_password(uri) == (uri, None)


@pytest.mark.parametrize(
    ("typed", "path"),
    [
        ("sqlite:////x/m.db", "/x/m.db"),
        ("sqlite+pysqlite:////x/m.db", "/x/m.db"),
        ("sqlite:///x/m.db", "x/m.db"),
        ("sqlite:////my data/m.db", "/my data/m.db"),
        ("sqlite:////my%20data/m.db", "/my data/m.db"),
        ("sqlite:////50%/m.db", "/50%/m.db"),
        ("sqlite:////50% off/m.db", "/50% off/m.db"),
        ("sqlite:////50%25/m.db", "/50%/m.db"),
        ("sqlite:////what?/m.db", "/what?/m.db"),
        ("sqlite:////why?.db", "/why?.db"),
        ("sqlite:////a#b/m.db", "/a#b/m.db"),
        ("sqlite:////Übung/müll.db", "/Übung/müll.db"),
        ("sqlite:////%C3%9Cbung/m.db", "/Übung/m.db"),
        ("http://host:5000", None),
        ("sqlite://", None),
        ("mysql://h/x", None),
    ],
)
def test_what_is_typed_is_read(typed: str, path: str | None) -> None:
    assert sqlite_file(typed) == (None if path is None else Path(path))


def test_a_path_with_the_spelling_of_a_blank_is_that_path(tmp_path: Path) -> None:
    (tmp_path / "a%20b").mkdir()
    assert sqlite_file(f"sqlite:///{tmp_path}/a%20b/m.db") == tmp_path / "a%20b" / "m.db"
    (tmp_path / "a b").mkdir()  # now the address says what addresses say
    assert sqlite_file(f"sqlite:///{tmp_path}/a%20b/m.db") == tmp_path / "a b" / "m.db"
    assert sqlite_file(sqlite_uri(tmp_path / "a%20b" / "m.db")) == tmp_path / "a%20b" / "m.db"


def test_home_is_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert sqlite_file("sqlite:///~/m.db") == Path("/home/ann/m.db")


@pytest.mark.parametrize(
    "path", ["/x/m.db?timeout=5", "/m.db?a=1&b=2", ":memory:", "file:/x/m.db?mode=ro&uri=true"]
)
def test_options_and_memory_are_refused(path: str) -> None:
    with pytest.raises(ConfigError, match="expected") as caught:
        sqlite_file(f"sqlite:///{path}")
    assert "\n" not in str(caught.value)


# --- passwords --------------------------------------------------------------------------------

SECRETS = [
    ("postgresql://ann:secret@db/x", "postgresql://ann:***@db/x", "secret"),
    ("mssql+pyodbc://ann:se%40cret@db:1/x", "mssql+pyodbc://ann:***@db:1/x", "se@cret"),
    ("postgresql://ann:se/cr?et@db/x", "postgresql://ann:***@db/x", "se/cr?et"),
    ("mysql://db/x?user=ann&passwd=secret", "mysql://db/x?user=ann&passwd=***", "secret"),
    ("mysql+pymysql://ann:secret@db/x", "mysql+pymysql://ann:***@db/x", "secret"),
    ("https://ann:secret@host:5000/", "https://ann:***@host:5000/", "secret"),
    ("https://ann:se@cret@host", "https://ann:***@host", "se@cret"),
    ("https://secret@host/x", "https://***@host/x", "secret"),
]  # fmt: skip
OPEN = [
    *("http://host:5000", "http://host:5000/a@b", "http://[::1]:5000/a@b", "postgresql://ann@db/x"),
    *("postgresql://ann:@db/x", "http://[::1]:5000/", "postgresql://db:5432/x"),
    *("sqlite:////home/ann:b@c/m.db", "sqlite:////x/password=1/m.db"),
]


@pytest.mark.parametrize(("uri", "hidden", "secret"), SECRETS)
def test_a_password_is_taken_out_and_put_back(uri: str, hidden: str, secret: str) -> None:
    assert split_password(uri) == (hidden, secret)
    again = with_password(hidden, secret)
    assert split_password(again) == (hidden, secret)
    assert "secret" not in hide_password(uri)
    assert "cret" not in hide_password(f"--tracking-uri '{uri}' --run x")


@pytest.mark.parametrize("uri", OPEN)
def test_addresses_without_a_password_stay(uri: str) -> None:
    assert split_password(uri) == (uri, None)
    assert with_password(uri, "secret") == uri


@pytest.mark.parametrize("password", ["secret", "p@ss/word?x=1#%", "ü ß"])
def test_the_password_reaches_whom_it_is_for(password: str) -> None:
    from requests.utils import get_auth_from_url

    assert make_url(with_password("postgresql://ann:***@db/x", password)).password == password
    full = with_password("https://ann:***@host:5000", password)
    assert get_auth_from_url(full) == ("ann", password)


@pytest.mark.parametrize(
    "uri",
    [
        "mssql+pyodbc:///?odbc_connect=UID%3Dann%3BPWD%3Dsecret",
        "https://ann:sec/ret@host:5000",
        "http://ann:sec/ret@host/x",
    ],
)
def test_a_password_that_cannot_be_kept_apart_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match=r"^--tracking-uri .*: expected ") as caught:
        keep_password(uri)
    assert "secret" not in str(caught.value)
    assert "sec/ret" not in str(caught.value)


@pytest.mark.parametrize("uri", OPEN)
def test_other_addresses_are_kept_as_they_are(uri: str) -> None:
    assert keep_password(uri) == uri


def test_a_kept_address_asks_for_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD, "")  # so that it is as before after the test
    kept = keep_password("https://ann:secret@host")
    assert kept == f"https://ann:{HIDDEN}@host"
    assert with_password(kept) == "https://ann:secret@host"
    assert keep_password(kept) == kept
    monkeypatch.delenv(PASSWORD)
    with pytest.raises(ConfigError, match=f"again, or set {PASSWORD}") as caught:
        keep_password(kept)
    assert "\n" not in str(caught.value)


# --- drivers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "module", "package"),
    [
        ("postgresql://h/x", "psycopg", "psycopg[binary]"),
        ("postgresql+psycopg2://h/x", "psycopg2", "psycopg2-binary"),
        ("mysql://h/x", "MySQLdb", "mysqlclient"),
        ("mysql+pymysql://h/x", "pymysql", "pymysql"),
        ("mssql+pyodbc://h/x", "pyodbc", "pyodbc"),
        ("postgresql+odd://h/x", "odd", "odd"),
    ],
)
def test_the_driver_of_a_database_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, uri: str, module: str, package: str
) -> None:
    installed = {module}
    monkeypatch.setattr(address, "find_spec", lambda name: name if name in installed else None)
    assert missing_driver(uri) is None
    installed.clear()
    assert missing_driver(uri) == package


def test_the_default_driver_is_that_of_the_installed_sqlalchemy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(address, "find_spec", lambda name: None)
    for number, package in (("2.0.43", "psycopg2-binary"), ("2.1.9", "psycopg[binary]")):
        monkeypatch.setattr(address, "version", lambda _, number=number: number)
        assert missing_driver("postgresql://h/x") == package
    assert missing_driver("http://h") is None
