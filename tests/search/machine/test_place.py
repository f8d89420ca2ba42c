"""Dead ends of --address and --storage, and what a machine has: one line, before a run folder."""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from recsys.errors import ConfigError
from search.machine import head
from search.machine import storage as tune_storage
from search.machine.head import check_address, parse_address, refusal
from search.machine.nodes import ClusterNode
from search.machine.place import Capacity
from search.machine.storage import check_storage, is_local, resolve_storage


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.1:6379", ("10.0.0.1", 6379)),
        ("head.cluster.example:6379", ("head.cluster.example", 6379)),
        ("[::1]:6379", ("::1", 6379)),
        ("auto", None),
    ],
)
def test_addresses(text: str, expected: tuple[str, int] | None) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "local", "head", "head:", ":6379", "head:0", "head:99999", "head:x", "a b:1", "::1:6379",
     "10.0.0.1:6379/", "head:6379\n"],
)  # fmt: skip
def test_addresses_that_are_none_are_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match="HOST:PORT") as caught:
        parse_address(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "dashboard"),
    [
        ("ray://head:10001", "http://head:8265"),
        ("http://ann:secret@head:8265", "http://head:8265"),
        ("ray://[::1]:10001", "http://[::1]:8265"),
        ("ray://", "http://HEAD:8265"),
    ],
)
def test_from_outside_a_cluster_it_says_how_to_submit(address: str, dashboard: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_address(address)
    said = str(caught.value)
    assert "\n" not in said
    (line,) = re.findall("`(.*)`", said)
    words = shlex.split(line)
    assert words[:3] == ["ray", "job", "submit"]
    assert words[words.index("--address") + 1] == dashboard
    assert words[-4:] == ["--address", "auto", "--runs-dir", "/DIR/ON/THE/HEAD"]


def test_nobody_at_the_address() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with pytest.raises(ConfigError, match=f"no Ray cluster answers at 127.0.0.1:{port}"):
            check_address(f"127.0.0.1:{port}", {})


def test_a_name_that_does_not_resolve() -> None:
    with pytest.raises(ConfigError, match="no such machine"):
        check_address("no-such-machine.invalid:6379", {})


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("print('[[\"AuthenticationError: Token x\"], {}]')", "RAY_AUTH_MODE=token"),
        ("print('[[\"RuntimeError: Version mismatch: a b\"], {}]')", "Version mismatch: a b"),
        ("print('[[\"ConnectionError: Failed\"], {}]')", "no Ray cluster answers there .Failed."),
        ("print('[[\"ConnectionError: Failed to connect\"], {}]')", "not a Ray head: expected"),
        ("import os; os._exit(3)", "without a message"),
        ("import threading; threading.Event().wait()", "does not answer: it is not a Ray head"),
    ],
)
def test_somebody_who_is_not_a_ray_for_us(
    monkeypatch: pytest.MonkeyPatch, script: str, words: str
) -> None:
    monkeypatch.setattr(head, "_ASK", script)
    monkeypatch.setattr(head, "PROBE_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        where = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"^--address {where}: .*{words}") as caught:
            check_address(where, {}, join_s=2, ask_s=0.5)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad request\r\n\r\n", b"SSH-2.0-x\r\n", b""])
def test_a_server_of_another_kind_is_known_at_once(said: bytes) -> None:
    def answer(server: socket.socket) -> None:
        connection, _ = server.accept()
        connection.recv(100)
        connection.sendall(said)
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=answer, args=(server,), daemon=True).start()
        where = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ConfigError, match="something listens there, but it is not a Ray head"):
            check_address(where, {})


def test_somebody_who_lets_us_wait_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "_ASK", "import threading; threading.Event().wait()")
    monkeypatch.setattr(head, "SAY_AFTER_S", 0.2)
    lines: list[str] = []
    with pytest.raises(ConfigError, match="no Ray cluster answers there in time"):
        check_address("auto", {}, lines.append, join_s=1)
    assert lines == ["still waiting for Ray at auto"]


def test_nodes_have_their_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    script = "import time; print('joined', flush=True); time.sleep(2); print('[[], []]')"
    monkeypatch.setattr(head, "_ASK", script)
    assert check_address("auto", {}, join_s=1, ask_s=60) == []


def test_what_a_cluster_has(monkeypatch: pytest.MonkeyPatch) -> None:
    node = {"id": "ab", "name": "w1", "address": "10.0.0.2", "cpus": 8.0, "gpus": 0.0}
    script = f"import json; print('noise'); print(json.dumps([[], [{node}]]))"
    monkeypatch.setattr(head, "_ASK", script)
    assert check_address("auto", {}) == [ClusterNode(**node)]  # type: ignore[arg-type]


def test_a_refusal_names_the_token() -> None:
    said = ["ConnectionError: Failed to connect", "RuntimeError: Unauthenticated: no header"]
    assert "RAY_AUTH_TOKEN" in refusal(said)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ((3, 0, "cpu"), "there are 2 CPU cores"),
        ((1, 1, "cpu"), "there are 0 GPUs"),
        ((1, 0, "cuda"), "add --gpus-per-trial"),
    ],
)
def test_more_than_there_is(asked: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Capacity(2, 2, 0).check(*asked)
    Capacity(4, 4, 1).check(2, 0.5, "cuda")


def test_more_than_the_largest_machine_has() -> None:
    with pytest.raises(ConfigError, match="the largest machine has 4 cores"):
        Capacity(8, 4, 0).check(6, 0, "cpu")


# --- --storage ------------------------------------------------------------------------------------


def test_a_folder_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    found = {text: resolve_storage(text) for text in ("a", "./a", "my store", "a%20#b?", "~/a")}
    assert found == {
        "a": f"{tmp_path}/a",
        "./a": f"{tmp_path}/a",
        "my store": f"{tmp_path}/my store",
        "a%20#b?": f"{tmp_path}/a%20#b?",
        "~/a": "/home/me/a",
    }
    assert resolve_storage("file:///a%20b") == "/a b"
    assert resolve_storage("s3://bucket/x") == "s3://bucket/x"
    assert not is_local("s3://bucket/x")


@pytest.mark.parametrize("text", ["", " ", "file://host/a", "file://a"])
def test_no_storage_at_all_is_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match="--storage"):
        resolve_storage(text)


def test_a_folder_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    check_storage(str(tmp_path / "a b%20#?" / "c"))
    assert list((tmp_path / "a b%20#?" / "c").iterdir()) == []


@pytest.mark.parametrize("place", ["/proc/x", "/dev/null", "/dev/null/x", "/sys/x"])
def test_a_folder_that_cannot_be_written_is_one_line(place: str) -> None:
    with pytest.raises(ConfigError, match=f"^--storage {place}: cannot be written") as caught:
        check_storage(place)
    assert "\n" not in str(caught.value)


def test_a_scheme_that_nobody_knows_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^--storage foo://bar: .*foo.*expected a folder"):
        check_storage("foo://bar")


def test_a_store_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*_: Any, timeout: float, **__: Any) -> Any:
        raise subprocess.TimeoutExpired("x", timeout)

    monkeypatch.setattr(tune_storage.subprocess, "run", late)
    with pytest.raises(ConfigError, match="s3://bucket/x: no answer within 5 s"):
        check_storage("s3://bucket/x", patience_s=5)
