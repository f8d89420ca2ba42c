"""The store that a run goes to: the default one, the check before a run, and the environment of a
courier.
"""

from __future__ import annotations

import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path

from recsys.errors import ConfigError
from search.paths import COMMAND, INSTALLED, home, import_path
from search.tracking.address import (
    DATABASES,
    keep_password,
    missing_driver,
    sqlite_file,
    sqlite_uri,
)
from search.tracking.database import check_database, check_place
from search.words import hide_password

DELIVERY, COURIER_LOCK, COURIER_LOG = "delivery.json", "courier.lock", "courier.log"
SCRATCH = ".mlflow-"  # how the names of a courier's temporary folders in the run folder begin
EXPERIMENT = "recsearch"


_STORE = "/mlflow/store/mlflow.db"


# The environment may say which user a server sees, but not which run or experiment.
_KEPT = re.compile(r"MLFLOW_(TRACKING_(?!URI)\w+|S3_\w+|HTTP_REQUEST_TIMEOUT)")


def left_behind(run_dir: Path) -> list[Path]:
    """The temporary folders of couriers that were killed, with copies of models. Whoever asks has
    the lock of the run's courier.
    """
    return sorted(run_dir.glob(f"{SCRATCH}*"))


def default_tracking_uri() -> str:
    """The local store: `mlflow/store` in the checkout or, installed, in the working directory."""
    return sqlite_uri(Path(f"{home()}{_STORE}"))


def is_local_default(uri: str) -> bool:
    """Whether `uri` is the local store of this project, or of a project that is no longer there.

    Runs of earlier versions kept its path, which is out of date once the project was moved.
    """
    file = sqlite_file(uri)
    if file is None or not str(file).endswith(_STORE):
        return False
    return file == sqlite_file(default_tracking_uri()) or not file.exists()


def check_tracking_uri(uri: str) -> str:
    """The address `uri` as it is kept: absolute, without its password (see `keep_password`).

    Raises ConfigError where there can be no store, where a local one can't be used (no permission,
    not a database, another version of MLflow), and where mlflow or the driver of a database is
    missing. Doesn't ask whether a server answers: a search runs without one. Creates nothing.
    """
    require_mlflow()
    shown = hide_password(uri)
    file = sqlite_file(uri)
    if file is not None:
        check_place(file.absolute())
        check_database(file.absolute())
        return kept_uri(uri)
    scheme = uri.partition("://")[0]
    if scheme not in ("http", "https") and scheme.split("+")[0] not in DATABASES:
        raise ConfigError(
            f"--tracking-uri {shown}: expected http(s)://HOST:PORT, sqlite:////ABSOLUTE/FILE.db "
            "or postgresql://... (MLflow no longer has a store of plain files)"
        )
    if not uri.partition("://")[2].partition("/")[0].rpartition("@")[2].strip():
        raise ConfigError(f"--tracking-uri {shown}: no host: expected http://HOST:PORT")
    if (package := missing_driver(uri)) is not None:
        raise ConfigError(
            f"--tracking-uri {shown}: MLflow needs a driver for it: pip install {package!r}"
        )
    return kept_uri(uri)


def kept_uri(uri: str) -> str:
    """`uri` with an absolute path and without its password; not checked."""
    file = sqlite_file(uri)
    return keep_password(uri) if file is None else sqlite_uri(file.absolute())


def require_mlflow() -> None:
    """Raise ConfigError unless `import mlflow` would find the package; does not import it.

    The folder mlflow/ of this project has no code, and Python would import it as an empty
    namespace where the package is not installed.
    """
    spec = find_spec("mlflow")
    if spec is None or spec.origin is None:
        todo = (
            f"install this {COMMAND} again, with all that it requires"
            if INSTALLED
            else "run `make search`, or `pip install -r requirements.txt`"
        )
        raise ConfigError(f"the package mlflow is not installed in {sys.executable}: {todo}")


def courier_environment(uri: str) -> dict[str, str]:
    """The environment for a process that talks to the store at `uri`, and to no other.

    It also has a password that `check_tracking_uri` took out of the address, under its own name.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MLFLOW_") or _KEPT.fullmatch(name)
    }
    defaults = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
    fixed = {
        "MLFLOW_TRACKING_URI": uri,
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the courier has its own patience
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_LOGGING_LEVEL": "ERROR",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "GIT_PYTHON_REFRESH": "quiet",
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "ignore",
        "PYTHONPATH": os.pathsep.join(
            [*import_path(), *filter(None, [os.environ.get("PYTHONPATH")])]
        ),
    }
    return defaults | kept | fixed
