"""Dead ends of --address and --storage, and what a machine has: one line, before a run folder."""

from __future__ import annotations

import json
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
from search.machine.head import Asking, check_address, parse_address, refusal
from search.machine.nodes import ClusterNode
from search.machine.place import check_fits
from search.machine.room import Room
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


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def asking(trial: Room = Room(1)) -> tuple[Asking, Clock, list[str]]:  # noqa: B008
    clock, lines = Clock(), list[str]()
    return Asking("h:1", trial, lines.append, 25.0, 60.0, clock), clock, lines


def look_until(asks: Asking, clock: Clock, end: float) -> bool:
    """Look ten times a second; returns whether there is still time at `end`."""
    while clock.now < end:
        clock.now = round(clock.now + 0.1, 1)
        if not asks.look():
            return False
    return True


def test_nodes_that_do_not_answer_are_named() -> None:
    asks, clock, lines = asking()
    asks.hear("joined")
    names = {f"id{n}": [f"w{n}", "10.0.0.2" if n else "w0"] for n in range(8)}
    asks.hear(json.dumps({"asked": names}))
    for n in (3, 4):
        asks.hear(json.dumps({"answered": f"id{n}"}))
    assert look_until(asks, clock, 9.9)
    assert lines == []
    assert look_until(asks, clock, 11)
    who = "w0, w1 (10.0.0.2), w2 (10.0.0.2), w5 (10.0.0.2), w6 (10.0.0.2) and 1 more"
    assert lines == [f"8 nodes asked, 2 answers so far; waiting for {who}, at most 50 s more"]
    for n in (0, 2, 5, 6, 7):
        asks.hear(json.dumps({"answered": f"id{n}"}))
    assert lines[1] == "w0 has answered"
    assert len(lines) == 6
    assert look_until(asks, clock, 31)
    assert lines[6:] == [
        "8 nodes asked, 7 answers so far; waiting for w1 (10.0.0.2), at most 30 s more"
    ]
    assert not look_until(asks, clock, 200)  # the program gives up itself, a while before
    assert clock.now == pytest.approx(85, abs=0.2)


def test_a_cluster_without_a_node_is_waited_for() -> None:
    """Such a cluster starts nodes for what is asked of it."""
    asks, clock, lines = asking(Room(2))
    asks.hear("joined")
    asks.hear('{"waiting": [], "ending": 0}')
    assert lines == ["waiting for the first node of the cluster that has 2 cores"]
    assert look_until(asks, clock, 60)
    assert lines[1:] == [
        f"no worker has started for {n} s: 1 trial asks for 2 cores, and no node gives a core away"
        for n in (20, 45)
    ]
    asks.hear('{"waiting": [[1.0, 0.0, 1000]], "ending": 0}')
    assert look_until(asks, clock, 80)
    assert lines[-1].endswith("1 trial asks for 2 cores, and the largest node has 1 core")
    asks.hear('{"asked": {"ab": ["w1", "w1"]}}')
    assert look_until(asks, clock, 135)
    with pytest.raises(ConfigError, match=r"^--address h:1: no worker could be .* no node gives"):
        asks.hear('{"waiting": [], "ending": 0}')
        look_until(asks, clock, 9999)
    assert clock.now < 2000


def test_a_cluster_all_of_whose_nodes_end_is_said_to_be_one() -> None:
    asks, _, lines = asking(Room(2))
    asks.hear("joined")
    asks.hear('{"waiting": [], "ending": 3}')
    assert lines == ["waiting for another node that has 2 cores (3 nodes told to end)"]


@pytest.mark.parametrize("text", ["", "[[], []]", "{no json", "7", "noise"])
def test_what_ray_says_in_between_is_no_matter(text: str) -> None:
    asks, _, lines = asking()
    asks.hear(text)
    assert (asks.step, lines) == ("join", [])


def test_what_a_cluster_has(monkeypatch: pytest.MonkeyPatch) -> None:
    node = {"id": "ab", "name": "w1", "address": "10.0.0.2", "cpus": 8.0, "gpus": 0.0}
    script = f"import json; print('noise'); print(json.dumps([[], [{node}]]))"
    monkeypatch.setattr(head, "_ASK", script)
    assert check_address("auto", {}) == [ClusterNode(**node)]  # type: ignore[arg-type]


def test_a_refusal_names_the_token() -> None:
    said = ["ConnectionError: Failed to connect", "RuntimeError: Unauthenticated: no header"]
    assert "RAY_AUTH_TOKEN" in refusal(said)


@pytest.mark.parametrize(
    ("nodes", "trial", "words"),
    [
        ([Room(2)], Room(3), "--cpus-per-trial 3: there are 2 CPU cores"),
        ([Room(2)], Room(1, 1), "--gpus-per-trial 1: there are 0 GPUs"),
        ([Room(2, 1)], Room(1, 1.5), "--gpus-per-trial 1.5: there are 1 GPUs"),
        ([Room(4), Room(4)], Room(6), "--cpus-per-trial 6: the largest node has 4 cores"),
        ([Room(4), Room(4)], Room(1, 1), "--gpus-per-trial 1: no node has a GPU"),
        (
            *([Room(4, 1), Room(4, 1)], Room(1, 2)),
            "--gpus-per-trial 2: the node with the most GPUs has 1 GPU",
        ),
        (
            *([Room(16), Room(4, 1)], Room(8, 1)),
            "--cpus-per-trial 8 --gpus-per-trial 1: of those with 8 cores none has a GPU",
        ),
        (
            *([Room(8, 1), Room(4, 4)], Room(8, 2)),
            "--cpus-per-trial 8 --gpus-per-trial 2: of those with 8 cores the node with the most "
            "GPUs has 1 GPU",
        ),
        ([], Room(1), "--cpus-per-trial 1: no node gives a core away"),
    ],
)
def test_more_than_any_single_node_has(nodes: list[Room], trial: Room, words: str) -> None:
    """However much the nodes have together: a trial runs on one of them."""
    with pytest.raises(ConfigError) as caught:
        check_fits(nodes, trial, "auto")
    assert str(caught.value) == words
    check_fits([*nodes, trial], trial, "cuda" if trial.gpus else "cpu")


def test_cuda_needs_a_gpu() -> None:
    with pytest.raises(ConfigError, match="add --gpus-per-trial"):
        check_fits([Room(4, 1)], Room(1), "cuda")


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
