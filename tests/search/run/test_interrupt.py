"""Signals, and where the last words go."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from recsys.errors import ConfigError, DivergedError, InputError
from search.cli import commands
from search.cli.main import main
from search.run.signals import has_reader, tell
from tests.search.tracking.tracking_help import wait_until

ROOT = Path(__file__).resolve().parents[3]
# The signals come from the process itself, so that none can come too early.
CHILD = """
import os, signal, sys
from recsys.output import guard_output
from recsys.errors import ConfigError, DivergedError, InputError
from search.cli import commands
from search.cli.main import main
from search.run.signals import EXIT_CODE, interruptible
guard_output()
with interruptible() as interruption:
    interruption.last_words = "to resume: this"
    try:
        {body}
        code = 0
    except KeyboardInterrupt:
        {after}
        print("interrupted", flush=True)
        interruption.farewell()
        code = EXIT_CODE
sys.stdout.flush()
os._exit(code)
"""


def child(body: str, shell: str = '"$0" -c "$1"') -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", shell, sys.executable, CHILD.format(body=body, after="pass")],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def kill(*numbers: signal.Signals) -> str:
    return "; ".join(f"os.kill(os.getpid(), {int(n)})" for n in numbers)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_signal_is_an_interruption(number):
    done = child(kill(number))
    assert done.returncode == 130
    assert done.stdout == "interrupted\nto resume: this\n"


def test_a_signal_within_a_callback_from_c_is_not_lost():
    callback = (
        "import ctypes; called = ctypes.CFUNCTYPE(None)(lambda: ({kill}, print('compiled'))[0])"
    ).format(kill=f"os.kill(os.getpid(), {int(signal.SIGTERM)})")
    done = child(
        f"{callback}\n        with interruption.postponed(): called(); print('all of it')"
        "\n        print('never')"
    )
    assert done.returncode == 130
    assert done.stderr == ""
    assert done.stdout == "compiled\nall of it\ninterrupted\nto resume: this\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_short_command_ends_in_order(number, monkeypatch):
    usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    monkeypatch.setattr(commands, "command_spaces", lambda _: os.kill(os.getpid(), number))
    before = signal.signal(number, usual)  # whatever another test has left
    try:
        assert main(["spaces"]) == 130
        assert signal.getsignal(number) == usual
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, 0),
        (RuntimeError("a bug of ours keeps its traceback"), None),
        (ConfigError("x"), 2),
        (InputError("a\nb"), 2),
        (DivergedError(3, "lr=9"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_codes(error, code, monkeypatch, capsys):
    def command(_):
        if error is not None:
            raise error
        return 0

    monkeypatch.setattr(commands, "command_spaces", command)
    if code is None:
        with pytest.raises(RuntimeError):
            main(["spaces"])
        return
    assert main(["spaces"]) == code
    assert len(capsys.readouterr().err.splitlines()) == (code in (1, 2))


def test_a_hangup_that_is_ignored_stays_so():
    done = child(kill(signal.SIGHUP), 'trap "" HUP; "$0" -c "$1"')
    assert (done.returncode, done.stdout) == (0, "")


def test_a_pipe_whose_reader_left_changes_no_exit_code():
    """`| tee` dies of the same Ctrl-C."""
    shell = '{ "$0" -c "$1" 2>&3; echo "code $?" >&3; } 3>&2 | true'
    done = child(kill(signal.SIGINT), shell)
    assert "code 130" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_of_a_search_behind_tee(tmp_path):
    """In a terminal Ctrl-C is for tee too; the words then stand on the terminal itself."""
    body = 'print("ready", flush=True); signal.pause()'
    after = "[None for _ in iter(lambda: has_reader(1), False)]"  # until tee is gone
    script = CHILD.replace("EXIT_CODE,", "EXIT_CODE, has_reader,").format(body=body, after=after)
    log = tmp_path / "log"
    shell = f'"$0" -c "$1" 2>&1 | tee "{log}"; echo "codes ${{PIPESTATUS[@]}}"'
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["PYTHONPATH"] = str(ROOT)
        os.execv("/bin/bash", ["bash", "-c", shell, sys.executable, script])
    shown = b""
    with suppress(OSError):  # the end of a terminal
        while data := os.read(terminal, 4096):
            shown += data
            if b"ready" in data:
                wait_until(lambda: log.read_text() == "ready\n")  # tee shows it first
                os.write(terminal, b"\x03")
    os.close(terminal)
    os.waitpid(pid, 0)
    assert b"to resume: this" in shown
    assert b"Traceback" not in shown
    assert b"codes 130" in shown or b"codes" not in shown  # bash itself may die of a Ctrl-C
    assert log.read_text() == "ready\n"


def test_who_reads():
    reader, writer = os.pipe()
    assert has_reader(writer)
    os.close(reader)
    assert not has_reader(writer)
    os.close(writer)
    null = os.open(os.devnull, os.O_WRONLY)
    assert not has_reader(null)
    os.close(null)
    ours, theirs = pty.openpty()
    assert has_reader(theirs)
    os.close(ours)
    assert not has_reader(theirs)
    os.close(theirs)


def test_stderr_takes_the_words_of_a_stdout_without_a_reader(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    errors = tmp_path / "errors"
    saved = [os.dup(fd) for fd in (1, 2)]
    file = os.open(errors, os.O_WRONLY | os.O_CREAT)
    try:
        os.dup2(writer, 1)
        os.dup2(file, 2)
        tell("to resume: this\n")
    finally:
        for fd, copy in zip((1, 2), saved, strict=True):
            os.dup2(copy, fd)
            os.close(copy)
        os.close(writer)
        os.close(file)
    assert errors.read_text() == "to resume: this\n"
