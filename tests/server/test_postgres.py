"""A search that is tracked in PostgreSQL, directly and through the server of mlflow/compose.yaml.

Needs root (PostgreSQL refuses to run as root, so it runs as the user that its package made) and the
package, which `make test-server` installs.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from urllib.parse import quote

import pytest
import yaml

from search.tracking.address import PASSWORD
from search.tracking.verify import verify_delivery
from tests.faults.live import Home, check_whole
from tests.ports import free_port
from tests.search.tracking.tracking_help import SHORT, wait_until

pytestmark = pytest.mark.server

ROOT = Path(__file__).resolve().parents[2]
USER, OWNER = "mlflow", "postgres"  # of the database, as in mlflow/compose.yaml; of its processes
SECRET = "s@cr/et 10%"  # what an address has to quote
TRIALS = 200


def programs() -> Path:
    """Where PostgreSQL's own programs are; skips where it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found or os.geteuid():
        pytest.skip("needs root and PostgreSQL: make test-server")
    return found[-1]


@dataclass
class Database:
    """A PostgreSQL of the test's own on 127.0.0.1, which asks for a password."""

    folder: Path
    port: int

    @property
    def uri(self) -> str:
        secret = quote(SECRET, safe="")
        return f"postgresql+psycopg2://{USER}:{secret}@127.0.0.1:{self.port}/mlflow"

    def query(self, sql: str) -> list[str]:
        """The lines that psql prints."""
        command = ["psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, "-At", "-c", sql]
        told = subprocess.run(
            [*command, "mlflow"],
            env=os.environ | {"PGPASSWORD": SECRET},
            capture_output=True,
            text=True,
            check=True,
        )
        return told.stdout.splitlines()


@pytest.fixture
def database() -> Iterator[Database]:
    bin_ = programs()
    folder = Path(mkdtemp(prefix="recsearch-pg-"))
    secret = folder / "secret"
    secret.write_text(SECRET)
    for path in (folder, secret):
        shutil.chown(path, OWNER)
    data, port = folder / "data", free_port()

    def run(*command: str) -> None:
        subprocess.run(["runuser", "-u", OWNER, "--", *command], check=True, cwd=folder)

    init = ("-D", str(data), "-U", USER, "-A", "scram-sha-256", "--pwfile", str(secret))
    run(str(bin_ / "initdb"), *init, "-E", "UTF8", "--no-sync")
    options = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} -c fsync=off"
    control = (str(bin_ / "pg_ctl"), "-D", str(data), "-l", str(folder / "log"))
    run(*control, "-w", "-o", options, "start")
    try:
        there = Database(folder, port)
        connect = ["-h", "127.0.0.1", "-p", str(port), "-U", USER]
        subprocess.run(
            ["createdb", *connect, "mlflow"], env=os.environ | {"PGPASSWORD": SECRET}, check=True
        )
        yield there
    finally:
        run(*control, "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def served(database: Database, tmp_path: Path) -> Iterator[str]:
    """The address of the server of mlflow/compose.yaml over that database, artifacts through it.

    What it has of its container is replaced: addresses, the folder for artifacts, the password.
    """
    port, folder = free_port(), tmp_path / "server"
    folder.mkdir()
    service = yaml.safe_load((ROOT / "mlflow" / "compose.yaml").read_text())["services"]["server"]
    env = {
        name: value.replace("@database/", f"@127.0.0.1:{database.port}/")
        for name, value in service["environment"].items()
    } | {"PGPASSWORD": SECRET, "MLFLOW_SERVER_ALLOWED_HOSTS": ""}
    own = {"--host=0.0.0.0": "--host=127.0.0.1", "--port=5000": f"--port={port}"}
    own |= {"--artifacts-destination=/artifacts": f"--artifacts-destination={folder.as_uri()}"}
    words = [own.pop(word, word) for word in service["command"]]
    assert not own and words[0] == "mlflow"
    check = [sys.executable, *service["healthcheck"]["test"][2:]]
    check[-1] = check[-1].replace(":5000/", f":{port}/")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-P", "-m", *words],
            env=kept | env,
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:

        def well() -> bool:
            assert server.poll() is None, (folder / "log").read_text()
            return subprocess.run(check, capture_output=True).returncode == 0

        wait_until(well)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def no_secret(folder: Path, *said: str) -> None:
    """The password stands in no file of a run and in nothing that was printed."""
    forms = [SECRET.encode(), quote(SECRET, safe="").encode(), quote(SECRET).encode()]
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(form in content for form in forms), path
    assert not any(form.decode() in text for text in said for form in forms)


def test_two_hundred_trials_through_a_server(
    database: Database, served: str, tmp_path: Path
) -> None:
    home = Home(tmp_path, served)
    search = home.search("one", "--trials", str(TRIALS), cpus=None)
    assert search.wait() == 0, search.said() + search.errors()
    assert "MLflow lacks" not in search.said()
    no_secret(home.runs, search.said(), search.errors())
    check_whole(home, "one", TRIALS)
    verified = home.call("sync", "one", "--verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    names = database.query(f"select {SHORT.replace('instr', 'strpos')} from runs")
    assert len(names) == TRIALS + 1
    assert set(names) >= {f"t{n:04d}" for n in range(TRIALS)}
    (epochs,) = database.query(
        "select count(*) from metrics m join runs r on m.run_uuid = r.run_uuid "
        "where m.key = 'loss' and r.name like 't0%'"
    )
    state = home.state("one")
    assert int(epochs) == sum(len(trial.rows) for trial in state.trials.values())


def test_directly_and_its_password_is_kept_nowhere(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path, database.uri)
    search = home.search("one", cpus=None)
    assert search.wait() == 0, search.said() + search.errors()
    assert verify_delivery(home.runs / "one", database.uri) == []
    no_secret(home.runs, search.said(), search.errors())
    monkeypatch.delenv(PASSWORD, raising=False)
    without = home.call("sync", "one")
    assert without.returncode == 2, without.stdout + without.stderr
    assert f"give --tracking-uri with it again, or set {PASSWORD}" in without.stderr
    assert without.stderr.count("\n") == 1
    again = home.call("sync", "one", "--verify", "--tracking-uri", database.uri)
    assert again.returncode == 0, again.stdout + again.stderr
    no_secret(home.runs, without.stderr, again.stdout, again.stderr)
