"""A run folder that comes back from a cluster as the log of a job."""

from __future__ import annotations

import io
import json
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from recsys.errors import ConfigError
from search.machine import environment, jobs, pack_run
from search.machine.jobs import archive_of, dashboard, unpacked

HEADER = "Running entrypoint for job x: python -I -c 'import json\n{\n' /data/runs/r\n"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "my runs" / "first"
    (folder / "model").mkdir(parents=True)
    (folder / "journal.jsonl").write_bytes(b'{"event": "begin"}\n')
    (folder / "model" / "weights.pt").write_bytes(bytes(range(256)) * 700)
    (folder / "link").symlink_to("/etc/passwd")
    return folder


def said_of(folder: Path | str) -> str:
    """What the program says of a folder, started as the job starts it."""
    words = [sys.executable, "-I", "-c", jobs._PACK, str(folder)]
    return subprocess.run(words, capture_output=True, text=True, check=True, cwd="/").stdout


def test_a_folder_there_and_back(run: Path, tmp_path: Path) -> None:
    archive = unpacked(f"{HEADER}{said_of(run)}a warning at the end\n", "it")
    with zipfile.ZipFile(io.BytesIO(archive)) as packed:
        assert packed.namelist() == ["model/weights.pt", "journal.jsonl"]  # the journal is last
        packed.extractall(tmp_path / "here")
    for name in ("journal.jsonl", "model/weights.pt"):
        assert (tmp_path / "here" / name).read_bytes() == (run / name).read_bytes()


def test_what_cannot_be_packed_is_one_line(run: Path, tmp_path: Path) -> None:
    for folder, why in (
        ("runs/first", "expected the absolute path"),
        (tmp_path / "none", "no run there: expected a folder with a journal.jsonl"),
        (run / "model", "no run there"),
    ):
        with pytest.raises(ConfigError, match=f"^it: {why}"):
            unpacked(HEADER + said_of(folder), "it")
    (line,) = pack_run.lines(run, limit=100)
    assert "copy it instead" in json.loads(line)["error"]


@pytest.mark.parametrize("cut", ["first", "middle", "last", "changed", "all"])
def test_what_arrives_in_part_is_refused(run: Path, cut: str) -> None:
    lines = said_of(run).splitlines()
    assert len(lines) >= 2
    if cut == "changed":
        lines[0] = ("A" if lines[0][0] != "A" else "B") + lines[0][1:]
    elif cut == "all":
        lines = []
    else:
        del lines[{"first": 0, "middle": len(lines) - 2, "last": -1}[cut]]
    with pytest.raises(ConfigError, match="arrived incomplete"):
        unpacked(HEADER + "\n".join(lines), "it")


def test_the_address_of_the_dashboard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(jobs.ADDRESS, raising=False)
    with pytest.raises(ConfigError, match=r"^--from is missing.*http://HOST:8265"):
        dashboard(None)
    monkeypatch.setenv(jobs.ADDRESS, "http://head:8265")
    assert dashboard(None) == "http://head:8265"
    assert dashboard("https://other/") == "https://other/"
    for text in ("head:8265", "ray://head:10001", "http://", "http://a b", "http://h/x"):
        with pytest.raises(ConfigError, match=r"^--from .*http://HOST:8265"):
            dashboard(text)


def test_nobody_there_is_one_line() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"^{address}: no Ray dashboard answers there"):
            archive_of(address, "/data/runs/first", print)


class Dashboard(BaseHTTPRequestHandler):
    """As much of Ray's Jobs API as is used, with one job. `status` 401: a token is missing."""

    status, ends, log = 200, "SUCCEEDED", ""

    def do_GET(self) -> None:
        job = {"type": "SUBMISSION", "entrypoint": "x", "status": self.ends, "message": "no\nroom"}
        answers = {
            "/api/version": {"version": "4", "ray_version": "2.60.0", "ray_commit": "x"},
            "/api/jobs/": {"job_id": "j", "submission_id": "j"},
            "/api/jobs/j": {"deleted": True} if self.command == "DELETE" else job,
            "/api/jobs/j/logs": {"logs": self.log},
            "/api/jobs/j/stop": {"stopped": True},
        }
        body = json.dumps(answers[self.path]).encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_DELETE = do_GET  # noqa: N815 - names that the server asks for

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(kind: type[Dashboard] = Dashboard, **given: object) -> Iterator[str]:
    handler = type("Given", (kind,), given)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(jobs.ADDRESS, "http://another:1")
    yield
    environment.apply(joined=True).undo()


@pytest.mark.usefixtures("free")
def test_through_rays_client(run: Path) -> None:
    with served(log=HEADER + said_of(run)) as address:
        assert archive_of(address, str(run), print) == unpacked(said_of(run), "it")


class Slow(Dashboard):
    """A job that ends once the user was told that it lasts."""

    said = threading.Event()

    def do_GET(self) -> None:
        self.ends = "SUCCEEDED" if self.said.is_set() else "RUNNING"
        super().do_GET()

    do_POST = do_DELETE = do_GET  # noqa: N815


@pytest.mark.usefixtures("free")
def test_a_job_that_takes_long_is_said(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []

    def note(line: str) -> None:
        lines.append(line)
        if "the job j" in line:
            Slow.said.set()

    monkeypatch.setattr(jobs, "SAY_AFTER_S", 0.0)
    monkeypatch.setattr(jobs, "SAY_AGAIN_S", 0.01)
    with served(Slow, log=HEADER + said_of(run)) as address:
        assert archive_of(address, str(run), note) == unpacked(said_of(run), "it")
    told = next(line for line in lines if "the job j" in line)
    assert told.startswith(f"waiting for {address} for ")
    assert told.endswith(" s: the job j reads the folder (300 s at most)")


@pytest.mark.usefixtures("free")
@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"ends": "FAILED"}, "the job j that reads the folder has failed: no room"),
        ({"status": 401}, "the cluster asks for a token: set RAY_AUTH_MODE=token"),
        ({"status": 500}, "no Ray dashboard answers there"),
        ({"log": '{"error": "no run there"}\n'}, "no run there"),
    ],
    ids=["failed", "token", "broken", "no run"],
)
def test_what_goes_wrong_there_is_one_line(given: dict[str, object], why: str) -> None:
    with served(**given) as address, pytest.raises(ConfigError, match=why) as caught:
        archive_of(address, "/data/runs/first", print)
    assert "\n" not in str(caught.value)
