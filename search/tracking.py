"""The driver's side of MLflow: start the courier, ask how far it is, say goodbye.

The driver never imports mlflow, never waits for a store and never fails because of one: it
writes the journal, and the courier (a process of its own) delivers it. What did not arrive by
the end stays in the run folder for `run_search.py sync RUN`, or for the next run.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from recsys.errors import ConfigError
from search.address import (
    DATABASES,
    keep_password,
    missing_driver,
    sqlite_file,
    sqlite_uri,
)
from search.database import check_database, check_place
from search.journal import read_events, read_state
from search.paste import command
from search.provenance import hide_password

if TYPE_CHECKING:
    from search.delivered import Delivered

DELIVERY, COURIER_LOCK, COURIER_LOG = "delivery.json", "courier.lock", "courier.log"
EXPERIMENT = "recsearch"
_ROOT = Path(__file__).resolve().parent.parent
_STORE = "/mlflow/store/mlflow.db"
# Who we are to a server may come from the environment; which run or experiment may not.
_KEPT = re.compile(r"MLFLOW_(TRACKING_(?!URI)\w+|S3_\w+|HTTP_REQUEST_TIMEOUT)")


def default_tracking_uri() -> str:
    """The local store under the project's mlflow/ folder."""
    return sqlite_uri(Path(f"{_ROOT}{_STORE}"))


def is_local_default(uri: str) -> bool:
    """Whether `uri` is the local store of this project, or of one that is gone from its place.

    Runs of earlier versions kept the path, which a project that was moved has left behind.
    """
    file = sqlite_file(uri)
    if file is None or not str(file).endswith(_STORE):
        return False
    return file == sqlite_file(default_tracking_uri()) or not file.exists()


def check_tracking_uri(uri: str) -> str:
    """The address `uri` as it is kept: absolute, without its password (see `keep_password`).

    Raises `ConfigError` where no store can be, where a local one can't be used (no permission, no
    database, another version of MLflow), where mlflow or the driver of a database is missing.
    Doesn't ask whether a server answers: a search runs without one. Makes nothing.
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
            "or postgresql://... (MLflow has no store of plain files any more)"
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
    """Raise `ConfigError` unless `import mlflow` would find the package (without importing it).

    The folder mlflow/ of this project has no code, and Python would import it as an empty
    namespace where the package is not installed.
    """
    spec = find_spec("mlflow")
    if spec is None or spec.origin is None:
        raise ConfigError(
            f"the package mlflow is not installed in {sys.executable}: "
            "run `make search`, or `pip install -r requirements.txt`"
        )


def courier_environment(uri: str) -> dict[str, str]:
    """The environment for a process that talks to the store at `uri`, and to no other.

    A password that `check_tracking_uri` took out of it is in it too, under a name of its own.
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
        "PYTHONPATH": os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")])),
    }
    return defaults | kept | fixed


@dataclass(frozen=True)
class DeliveryStatus:
    """How much of a run MLflow has. `pending`: trials (and the search itself) not there in full.

    `trials`: how many trials of the run have begun.
    """

    delivered: bool
    pending: int
    reason: str | None
    uri: str
    run_dir: Path
    run_id: str | None = None
    experiment_id: str | None = None
    trials: int = 0

    def sentence(self) -> str:
        """One line for a person."""
        where = hide_password(self.uri)
        if self.delivered:
            return f"MLflow has everything ({where})"
        why = f" ({hide_password(self.reason)})" if self.reason else ""
        return (
            f"MLflow lacks {self.lacks()}{why}; it is kept, and the next run delivers it, "
            f"or: {command('sync', self.run_dir)}"
        )

    def lacks(self) -> str:
        """What MLflow does not have, in words."""
        if self.run_id is None:
            return "all of this run"
        if self.pending > 1:
            return f"{self.pending - 1:,} of this run's {self.trials:,} trials"
        return "the latest of this run" if self.trials == 0 else "the end of this run"


def is_delivered(run_dir: Path, uri: str) -> bool:
    """Whether MLflow has all that the journal says, as far as delivery.json knows."""
    return _is_delivered(run_dir, _memory(run_dir, uri))


def delivery_status(run_dir: Path, uri: str) -> DeliveryStatus:
    """What delivery.json says, held against the journal."""
    record = _memory(run_dir, uri)
    delivered = _is_delivered(run_dir, record)
    state = read_state(run_dir / "journal.jsonl")
    lacking = record.lacking(state)
    return DeliveryStatus(
        delivered,
        0 if delivered else len(lacking) + 1,  # and the search itself
        None if delivered else record.error or "not all of it was sent yet",
        uri,
        run_dir,
        record.run_id or None,
        record.experiment_id or None,
        sum(t.attempt > 0 for t in state.trials.values()),
    )


def _memory(run_dir: Path, uri: str) -> Delivered:
    """What was delivered to this store; nothing where delivery.json is of another, or missing."""
    from search.delivered import Delivered

    record = Delivered.read(run_dir)
    return record if record is not None and record.uri == uri else Delivered(uri, "")


def _is_delivered(run_dir: Path, record: Delivered) -> bool:
    if not record.complete:
        return False
    try:
        return not any(True for _ in read_events(run_dir / "journal.jsonl", record.offset))
    except FileNotFoundError:
        return True


class Tracker:
    """A running courier for the run in `run_dir`; use as a context manager, or start and close.

    Nothing here raises because of MLflow, and nothing blocks beyond the seconds asked for.
    """

    def __init__(
        self,
        run_dir: Path | str,
        uri: str,
        *,
        experiment: str = EXPERIMENT,
        last_effort_s: float = 10.0,
        interval_s: float = 2.0,
    ) -> None:
        self.run_dir = Path(run_dir).resolve()
        self.uri = kept_uri(uri)
        self.experiment = experiment
        self.last_effort_s, self.interval_s = last_effort_s, interval_s
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the courier; it ends by itself when this process does."""
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        follow = ["--follow", "--last-effort", str(self.last_effort_s)]
        follow += ["--interval", str(self.interval_s)]
        self._process = _courier(self.run_dir, self.uri, self.experiment, follow)

    @property
    def pid(self) -> int | None:
        """Process id of the courier."""
        return self._process.pid if self._process else None

    def status(self) -> DeliveryStatus:
        """How far delivery is."""
        return delivery_status(self.run_dir, self.uri)

    def flush(self, deadline_s: float) -> DeliveryStatus:
        """Ask for delivery now and wait until it is done, at most `deadline_s` seconds."""
        end = time.monotonic() + deadline_s
        self._say("flush")
        while not self._delivered() and time.monotonic() < end and self._alive():
            time.sleep(0.05)
        return self.status()

    def _delivered(self) -> bool:
        return is_delivered(self.run_dir, self.uri)

    def close(self, deadline_s: float | None = None) -> DeliveryStatus:
        """Let the courier deliver what is left, at most `deadline_s` seconds, and end it."""
        seconds = self.last_effort_s if deadline_s is None else deadline_s
        end = time.monotonic() + seconds
        if not self._alive() and not self._delivered():
            self.start()  # somebody killed it
        if self._finish(seconds) and not self._delivered():
            self.start()  # it was killed just now, and did not look dead yet
            self._finish(max(0.0, end - time.monotonic()))
        return self.status()

    def _finish(self, seconds: float) -> bool:
        """Let the courier end within `seconds`; whether a signal of somebody else ended it."""
        process, self._process = self._process, None
        if process is None:
            return False
        with suppress(OSError, ValueError):
            assert process.stdin is not None
            process.stdin.write(f"close {seconds}\n".encode())
            process.stdin.close()
        try:
            return process.wait(seconds + 3.0) < 0
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return False

    def _alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _say(self, word: str) -> None:
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError, ValueError):  # it is dead: close() sees to that
                self._process.stdin.write(word.encode() + b"\n")
                self._process.stdin.flush()

    def __enter__(self) -> Tracker:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def sync(
    run_dir: Path | str,
    uri: str | None = None,
    *,
    experiment: str = EXPERIMENT,
    patience_s: float = 20.0,
) -> DeliveryStatus:
    """Deliver what MLflow lacks of a run; gives up after `patience_s` seconds without progress.

    `uri` None: where the run's records went so far. A store that was never given takes all.
    """
    run_dir = Path(run_dir).resolve()
    uri = check_tracking_uri(uri or known_uri(run_dir))
    more = ["--patience", str(patience_s), "--end-with-stdin"]
    process = _courier(run_dir, uri, experiment, more)
    if process is not None:
        assert process.stdin is not None
        with process.stdin:  # closed, it ends the courier, as our death does
            process.wait()
        process.wait()
    return delivery_status(run_dir, uri)


def known_uri(run_dir: Path) -> str:
    """The store a run's records went to, or were meant for.

    The local store is that of the project where the run is now, not where it was then.
    """
    meant = read_state(run_dir / "journal.jsonl").settings.get("tracking_uri")
    used: str | None
    try:
        used = str(json.loads((run_dir / DELIVERY).read_bytes())["uri"])
    except (OSError, ValueError, KeyError, TypeError):
        used = meant
    if used is None or is_local_default(used):
        return default_tracking_uri()
    file = sqlite_file(used)
    # Meant for the local store, and sent to the one of the project that this is a copy of.
    copied = meant is None and file is not None and str(file).endswith(_STORE)
    return default_tracking_uri() if copied else used


def verify_delivery(
    run_dir: Path | str, uri: str | None = None, *, experiment: str = EXPERIMENT
) -> list[str]:
    """Compare all of a run with what MLflow has; one line a difference, none if all is there.

    Imports mlflow into this process: for `sync --verify` and tests.
    """
    run_dir = Path(run_dir).resolve()
    uri = check_tracking_uri(uri or known_uri(run_dir))
    from search.verify import differences

    return differences(run_dir, uri, experiment)


def _courier(
    run_dir: Path, uri: str, experiment: str, more: list[str]
) -> subprocess.Popen[bytes] | None:
    """A courier process: away from the terminal's Ctrl-C, its chatter in courier.log."""
    # -P: the current folder, which may be anything, is not searched for modules.
    courier = [sys.executable, "-P", "-m", "search.courier", str(run_dir)]
    courier += ["--experiment", experiment, *more]
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    try:
        log = os.open(run_dir / COURIER_LOG, flags, 0o644)
    except OSError:
        log = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        return subprocess.Popen(
            courier,
            env=courier_environment(uri),
            cwd=run_dir,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    except OSError:
        return None
    finally:
        os.close(log)
