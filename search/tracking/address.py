"""The address of a tracking store: what it names, how it is kept, and what must not be kept of it.

MLflow (in fact SQLAlchemy) reads an address of SQLite as a URL: `%20` in it is a blank, and `?`
would end the path. Nowhere else in the project is an address put together or taken apart.
"""

from __future__ import annotations

import os
import re
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote, unquote

from recsys.errors import ConfigError
from search.words import hide_password

PASSWORD = "RECSEARCH_TRACKING_PASSWORD"  # its name in the environment
HIDDEN = "***"
DATABASES = ("postgresql", "mysql", "mssql")
_SQLITE = re.compile(r"sqlite(?:\+pysqlite)?:///(.+)", re.DOTALL)
_OPTIONS = re.compile(r"\?\w+=[^/?]*$")
# Where a password may be. That of a database may contain a slash, that of a server may not.
_IN_SERVER = re.compile(r"^(https?://[^/:@]*:)([^/]*)(@)", re.DOTALL)
_TOKEN = re.compile(r"^(https?://)([^/:@]+)(@)", re.DOTALL)  # a user without a password
_IN_DATABASE = re.compile(r"^([a-z0-9+]+://[^:/@]*:)([^@]*)(@)", re.DOTALL)
_SPLIT_PASSWORD = re.compile(r"https?://[^/:@\[]*:(?!\d+/)[^/@]*/[^@]*@")
_IN_QUERY = re.compile(r"([?&](?:ssl)?(?:password|passwd|pwd)=)([^&]*)()")
# The driver of a database whose address names none, and the package to install for each driver.
_DEFAULT_DRIVER = {"postgresql": "psycopg", "mysql": "mysqldb", "mssql": "pyodbc"}
_DRIVERS = {
    "psycopg": ("psycopg", "psycopg[binary]"),
    "psycopg2": ("psycopg2", "psycopg2-binary"),
    "asyncpg": ("asyncpg", "asyncpg"),
    "pg8000": ("pg8000", "pg8000"),
    "mysqldb": ("MySQLdb", "mysqlclient"),
    "pymysql": ("pymysql", "pymysql"),
    "mysqlconnector": ("mysql.connector", "mysql-connector-python"),
    "pyodbc": ("pyodbc", "pyodbc"),
    "pymssql": ("pymssql", "pymssql"),
}


def sqlite_uri(file: Path) -> str:
    """The address of the SQLite database `file`.

    >>> sqlite_uri(Path("/data/50% off/what?/m.db"))
    'sqlite:////data/50%25 off/what%3F/m.db'
    """
    return "sqlite:///" + str(file).replace("%", "%25").replace("?", "%3F")


def for_mlflow(uri: str) -> str:
    """The address for MLflow: one of SQLite is made to name its driver, others stay as they are.

    MLflow creates the folder of a `sqlite:///` database from the address as it is written, so
    `%25` and `%3F` would end up in its name. With a driver in the address it creates no folder.

    >>> for_mlflow("sqlite:////data/50%25 off/m.db")
    'sqlite+pysqlite:////data/50%25 off/m.db'
    >>> for_mlflow("http://127.0.0.1:5000")
    'http://127.0.0.1:5000'
    """
    return re.sub(r"^sqlite:///", "sqlite+pysqlite:///", uri)


def sqlite_file(uri: str) -> Path | None:
    """The database file of a SQLite address, typed or made by `sqlite_uri`; None for any other one.

    Raises ConfigError for options after `?` and for databases in memory.

    >>> sqlite_file("sqlite:////data/50%25 off/what%3F/m.db")
    PosixPath('/data/50% off/what?/m.db')
    """
    match = _SQLITE.fullmatch(uri)
    if match is None:
        return None
    if _OPTIONS.search(match[1]):
        raise ConfigError(
            f"--tracking-uri {uri}: expected sqlite:////ABSOLUTE/FILE.db without options after `?`"
        )
    if match[1].startswith((":memory:", "file:")):
        raise ConfigError(
            f"--tracking-uri {uri}: expected the path of a file, as in sqlite:////ABSOLUTE/FILE.db"
        )
    typed, decoded = (Path(p).expanduser() for p in (match[1], unquote(match[1])))
    # A path that was typed literally, `%20` and all: then a file of that very name exists.
    as_typed = typed != decoded and _is_near(typed) and not _is_near(decoded)
    return typed if as_typed else decoded


def _is_near(file: Path) -> bool:
    try:
        return file.exists() or file.parent.is_dir()
    except (OSError, ValueError):  # a name that is too long or invalid
        return False


# --- passwords --------------------------------------------------------------------------------


def split_password(uri: str) -> tuple[str, str | None]:
    """The address with `***` in place of its password, and the password; None if it has none.

    >>> split_password("postgresql://ann:s%40cret@db/x")
    ('postgresql://ann:***@db/x', 's@cret')
    """
    for place in _places(uri):
        if (match := place.search(uri)) and match[2]:
            hidden = uri[: match.start(2)] + HIDDEN + uri[match.end(2) :]
            return hidden, unquote(match[2])
    return uri, None


def with_password(uri: str, password: str | None = None) -> str:
    """The address with its password in place of `***`; None: with the one in the environment."""
    hidden, kept = split_password(uri)
    if kept != HIDDEN:
        return uri
    secret = os.environ.get(PASSWORD) if password is None else password
    return uri if secret is None else hidden.replace(HIDDEN, quote(secret, safe=""), 1)


def keep_password(uri: str) -> str:
    """Move the password of an address into the environment, where processes started here find it.

    Returns the address without it, to be written and shown. Raises ConfigError where it was taken
    out before and is no longer in the environment (for a run that is resumed, or synced), and where
    an address may have one in a place from which it can't be taken.
    """
    if "odbc_connect=" in uri:
        raise ConfigError(
            "--tracking-uri with odbc_connect: its password can't be kept out of the run: "
            "expected mssql+pyodbc://USER:PASSWORD@HOST/DATABASE?driver=..."
        )
    if _SPLIT_PASSWORD.match(uri):
        raise ConfigError(
            f"--tracking-uri {hide_password(uri)}: expected %2F for a slash in its password"
        )
    hidden, secret = split_password(uri)
    if secret == HIDDEN and not os.environ.get(PASSWORD):
        raise ConfigError(
            f"--tracking-uri {hidden}: its password is not kept in the run: "
            f"give --tracking-uri with it again, or set {PASSWORD}"
        )
    if secret not in (None, HIDDEN):
        os.environ[PASSWORD] = str(secret)
    return hidden


def _places(uri: str) -> tuple[re.Pattern[str], ...]:
    if uri.startswith(("http://", "https://")):
        return (_IN_SERVER, _TOKEN)
    if uri.startswith("sqlite"):
        return ()
    return (_IN_DATABASE, _IN_QUERY)


# --- drivers ----------------------------------------------------------------------------------


def missing_driver(uri: str) -> str | None:
    """The package to install before a database at `uri` can be reached; None: none is missing."""
    kind, _, driver = uri.partition("://")[0].partition("+")
    if kind not in DATABASES:
        return None
    driver = driver or _DEFAULT_DRIVER[kind]
    if (kind, driver) == ("postgresql", "psycopg") and "+" not in uri.partition("://")[0]:
        driver = "psycopg" if _sqlalchemy() >= (2, 1) else "psycopg2"
    module, package = _DRIVERS.get(driver, (driver, driver))
    try:
        return None if find_spec(module) else package
    except (ImportError, ValueError):
        return package


def _sqlalchemy() -> tuple[int, ...]:
    try:
        return tuple(int(n) for n in re.findall(r"\d+", version("SQLAlchemy"))[:2])
    except PackageNotFoundError:
        return (2, 1)
