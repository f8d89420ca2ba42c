"""The files in mlflow/ that start a server for several machines."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from copy import deepcopy
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import jsonschema
import pytest
import yaml

from recsys.errors import ConfigError
from search.guard import Guard
from search.tracking.driver import sync
from search.tracking.reach import check_name, unreachable
from search.tracking.ui import server_command
from search.tracking.ui_server import first_page
from tests.factories import FakeRun
from tests.ports import free_port
from tests.search.tracking.tracking_help import answers, wait_until

ROOT = Path(__file__).resolve().parents[3]
SERVE = ROOT / "mlflow" / "serve.sh"
STUB = """#!/bin/sh
pwd
printf '%s\\n' "$PYTHONPATH" "$PYTHONSAFEPATH" "$MLFLOW_SERVER_ALLOWED_HOSTS" "$@"
"""


def compose() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((ROOT / "mlflow" / "compose.yaml").read_text())
    return read


def check_compose(read: dict[str, Any]) -> None:
    """Raise ValidationError where this is no file of the compose specification."""
    found = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    jsonschema.validate(read, json.loads(found.read_text(encoding="utf-8")))


def pinned(package: str) -> str:
    text = "".join((ROOT / name).read_text() for name in ("requirements.txt", "Makefile"))
    (version,) = re.findall(rf"\b{package}==([\d.]+)", text)
    return str(version)


def test_compose_takes_the_file() -> None:
    check_compose(compose())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda it: it["services"]["server"].update(healthchek={}),
        lambda it: it["services"]["server"]["healthcheck"].update(test=5),
        lambda it: it["services"]["server"].update(ports=5000),
        lambda it: it["services"]["server"]["build"].update(dockerfile_inlined="FROM x"),
        lambda it: it["services"]["database"].update(depends_on={"server": {"condition": "up"}}),
        lambda it: it["services"]["database"].update(restart=True),
        lambda it: it.update(volume={}),
    ],
)
def test_compose_takes_no_spoiled_file(spoil: Callable[[dict[str, Any]], None]) -> None:
    spoiled = deepcopy(compose())
    spoil(spoiled)
    with pytest.raises(jsonschema.ValidationError):
        check_compose(spoiled)


def test_versions_are_pinned() -> None:
    database, server = (compose()["services"][name] for name in ("database", "server"))
    assert re.fullmatch(r"postgres:\d+\.\d+", database["image"])
    assert server["image"] == f"recsearch-mlflow:{pinned('mlflow')}"
    first, second = server["build"]["dockerfile_inline"].splitlines()
    assert first == f"FROM ghcr.io/mlflow/mlflow:v{pinned('mlflow')}"
    driver = f"psycopg2-binary=={pinned('psycopg2-binary')}"
    assert second == f"RUN pip install --no-cache-dir {driver}"


def test_the_password_is_on_no_command_line_and_in_no_address() -> None:
    services = compose()["services"]
    for service in services.values():
        secret = [key for key, value in service["environment"].items() if "PASSWORD" in value]
        assert secret in (["POSTGRES_PASSWORD"], ["PGPASSWORD"])
        rest = {key: value for key, value in service.items() if key != "environment"}
        assert "PASSWORD" not in json.dumps(rest)
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert "mlflow/.env" in ignored


def test_every_service_says_whether_it_is_well() -> None:
    services = compose()["services"]
    assert all("healthcheck" in service for service in services.values())
    assert "/health" in services["server"]["healthcheck"]["test"][-1]
    assert services["server"]["ports"] == ["127.0.0.1:5000:5000"]


def serve(
    store: Path | str, *words: str, python: str = sys.executable, **env: str
) -> tuple[list[str], dict[str, str]]:
    """The command that starts a server with serve.sh, and its environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return [str(SERVE), *words], kept | {"PYTHON": python, "MLFLOW_STORE": str(store)} | env


def started(tmp_path: Path, *words: str, **env: str) -> tuple[str, list[str], list[str]]:
    """Where serve.sh would start a server, the names that it answers to, and its options. It starts
    the code of this checkout, whatever folder it is started from.
    """
    stub = tmp_path / "stub"
    stub.write_text(STUB)
    stub.chmod(0o755)
    command, environment = serve("a store", *words, python=str(stub), **env)
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    where, path, safe, names, *options = done.stdout.splitlines()
    before = environment.get("PYTHONPATH")
    assert path == (f"{ROOT}:{before}" if before else str(ROOT))
    assert safe == "1"  # a folder that it is started from holds no code
    return where, names.split(","), options


def test_a_server_answers_to_the_host_it_was_given(tmp_path: Path) -> None:
    where, names, options = started(tmp_path, "5001", "tracker")
    assert where == str(tmp_path / "a store")
    assert {"tracker:*", f"{socket.gethostname()}:*"} <= set(names)
    ui = server_command(f"sqlite:///{where}/mlflow.db", "tracker", 5001)
    assert options[:3] == ui[2:5] == ["-m", "search.tracking.ui_server", "server"]
    given, of_ui = (dict(zip(o[::2], o[1::2], strict=True)) for o in (options[3:], ui[5:]))
    assert given.keys() == of_ui.keys()
    assert given["--backend-store-uri"] == f"sqlite:///{where}/mlflow.db"
    assert (given["--host"], given["--port"]) == ("tracker", "5001")


def test_the_path_of_the_caller_is_kept(tmp_path: Path) -> None:
    started(tmp_path, PYTHONPATH="/of/mine:/and/other")


def test_names_that_are_set_are_the_only_ones(tmp_path: Path) -> None:
    _, names, _ = started(tmp_path, MLFLOW_SERVER_ALLOWED_HOSTS="tracker:5000,x.example")
    assert names == ["tracker:5000", "x.example"]


def test_without_an_environment_a_line_says_what_to_do(tmp_path: Path) -> None:
    command, environment = serve(tmp_path, python="/nowhere/python")
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        "serve.sh: /nowhere/python is not there: run `make setup`, or set PYTHON\n"
    )


@contextmanager
def serving(store: Path, port: int, **env: str) -> Iterator[None]:
    """serve.sh at work on 127.0.0.1; ended with all that it started."""
    command, environment = serve(store, str(port), **env)
    log = store.parent / "serve.log"
    with closing(Guard(patience_s=0.0)) as guard, log.open("wb") as said:
        server = subprocess.Popen(
            command,
            env=environment | guard.environment,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        try:

            def up() -> bool:
                assert server.poll() is None, log.read_text()
                return answers(f"http://127.0.0.1:{port}/health")

            wait_until(up)
            yield
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()


@pytest.mark.slow
def test_a_run_is_delivered_to_a_server_under_its_own_names_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`tracker` and `other` are names of 127.0.0.1 here, and the server is told of the first."""
    import mlflow.server
    from mlflow.server.security_utils import get_default_allowed_hosts

    assert set(get_default_allowed_hosts()) <= set(started(tmp_path)[1])
    run = FakeRun(tmp_path / "runs", "a")
    run.trial()
    run.close()
    port = free_port()
    looked_up = socket.getaddrinfo

    def look_up(host: Any, *rest: Any, **more: Any) -> Any:
        return looked_up("127.0.0.1" if host in ("tracker", "other") else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    names = f"127.0.0.1:*,tracker:{port}"
    with serving(tmp_path / "store", port, MLFLOW_SERVER_ALLOWED_HOSTS=names):
        assert unreachable(f"http://tracker:{port}") is None
        with pytest.raises(ConfigError, match=f"MLFLOW_SERVER_ALLOWED_HOSTS=other:{port}"):
            check_name(f"http://other:{port}")
        status = sync(run.path, f"http://127.0.0.1:{port}")
        assert status.delivered, status.sentence()
        with urlopen(f"http://127.0.0.1:{port}/", timeout=60) as page:
            first = page.read().decode()
    index = Path(mlflow.server.__file__).parent / "js" / "build" / "index.html"
    assert first == first_page(index.read_text(encoding="utf-8"))
    assert (tmp_path / "store" / "mlflow.db").exists()
