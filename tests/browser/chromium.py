"""Headless Chromium: over its command line, the page after its scripts ran, console and requests;
and over its pipe for debuggers, a window in which things can be waited for and looked at.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--disable-default-apps --disable-extensions --metrics-recording-only "
    "--enable-logging=stderr --virtual-time-budget=3000"
)


# For what does happen, beside other work; and between two looks, which are work for the page.
LONG_S, PAUSE_S = 200.0, 0.5

# nothing but this machine has an address: neither the page nor Chromium reaches further
ALONE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"


def _program() -> str:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("chromium is not installed (make test-browser installs it)")
    return program


@dataclass(frozen=True)
class Visit:
    """What a visit left: the DOM as HTML, lines of the console, addresses the page asked for."""

    dom: str
    console: list[str]
    requests: list[str]

    def data(self, name: str) -> str | None:
        """A data-* attribute that a script set on the root element."""
        root = re.search(r"<html[^>]*>", self.dom)
        assert root is not None
        found = re.search(rf'data-{name}="([^"]*)"', root[0])
        return found[1] if found else None


def visit(page: Path | str, scratch: Path, width: int = 1280, *more: str) -> Visit:
    """Open a file or an address and wait until it has settled. Skips the test without Chromium."""
    program = _program()
    log = scratch / "net.json"
    profile = scratch / "profile"
    command = [program, *FLAGS.split(), f"--user-data-dir={profile}", f"--log-net-log={log}"]
    command += [ALONE]
    address = page if isinstance(page, str) else page.as_uri()
    command += [f"--window-size={width},1600", *more, "--dump-dom", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return Visit(done.stdout, console, _requests(log))


def _requests(log: Path) -> list[str]:
    """Addresses the page asked a network for, from Chromium's own record.

    Chromium asks for things of its own (its clock, its updates); those have no origin.
    """
    events = json.loads(log.read_text(encoding="utf-8", errors="replace"))["events"]
    asked = [e["params"] for e in events if "initiator" in e.get("params", {})]
    return [
        str(p["url"])
        for p in asked
        if p["initiator"] != "not an origin" and not str(p["url"]).startswith(("file:", "data:"))
    ]


class Window:
    """A window of a running Chromium. Real time passes in it, so pages are waited for."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back, self._buffer, self._count = to, back, b"", 0
        self.console: list[str] = []
        made = self._send("Target.createTarget", url="about:blank", session=None)
        known = {"targetId": made["targetId"], "flatten": True}
        self._session = self._send("Target.attachToTarget", session=None, **known)["sessionId"]
        for domain in ("Page", "Runtime"):
            self._send(f"{domain}.enable")

    def open(self, address: str, width: int, height: int = 1600) -> None:
        """Go to an address; what it shows is waited for with `wait`."""
        shape = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._send("Emulation.setDeviceMetricsOverride", **shape)
        self._send("Page.navigate", url=address)

    def ask(self, script: str, world: int | None = None) -> Any:
        """The value of a JavaScript expression on the page, or in another of its frames."""
        more = {} if world is None else {"contextId": world}
        wanted = {"expression": script, "returnByValue": True, "awaitPromise": True, **more}
        answer = self._send("Runtime.evaluate", **wanted)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, script: str, seconds: float = LONG_S, world: int | None = None) -> Any:
        """`ask` until the answer is true; it, or a failure that shows what there was instead."""
        end = time.monotonic() + seconds
        tried = f"(async () => {{ try {{ return await ({script}); }} catch {{ return null; }} }})()"
        while not (answer := self.ask(tried, world)):  # a page that is not there yet has no body
            assert time.monotonic() < end, (script, answer, self.ask("document.body.innerText"))
            time.sleep(PAUSE_S)
        return answer

    def frame(self, seconds: float = LONG_S) -> int:
        """The world of the first frame inside the page, whatever its sandbox forbids the page."""
        end = time.monotonic() + seconds
        while not (inner := self._send("Page.getFrameTree")["frameTree"].get("childFrames")):
            assert time.monotonic() < end, "no frame"
            time.sleep(PAUSE_S)
        known = {"frameId": inner[0]["frame"]["id"]}
        return int(self._send("Page.createIsolatedWorld", **known)["executionContextId"])

    def picture(self, file: Path) -> None:
        """What the window shows, as a PNG: for a person who wants to know why."""
        file.write_bytes(base64.b64decode(self._send("Page.captureScreenshot")["data"]))

    def _send(self, method: str, session: str | None = "", **params: Any) -> dict[str, Any]:
        self._count += 1
        asked: dict[str, Any] = {"id": self._count, "method": method, "params": params}
        if session is not None:
            asked["sessionId"] = self._session
        os.write(self._to, json.dumps(asked).encode() + b"\0")
        while True:
            while b"\0" not in self._buffer:
                read = os.read(self._back, 1 << 20)
                assert read, "chromium has ended"
                self._buffer += read
            line, _, self._buffer = self._buffer.partition(b"\0")
            said = json.loads(line)
            if said.get("method") == "Runtime.consoleAPICalled":
                words = [str(a.get("value", a.get("description"))) for a in said["params"]["args"]]
                self.console.append(" ".join(words))
            if said.get("method") == "Runtime.exceptionThrown":
                self.console.append(str(said["params"]["exceptionDetails"]))
            if said.get("id") == self._count:
                assert "error" not in said, (method, said["error"])
                found: dict[str, Any] = said["result"]
                return found


@contextmanager
def window(scratch: Path) -> Iterator[Window]:
    """A Chromium with one window. Skips the test without Chromium."""
    command = [_program(), *FLAGS.split(), f"--user-data-dir={scratch / 'profile'}", ALONE]
    # frames without an origin stay in the process of the page, where its debugger reaches them
    command = [word for word in command if not word.startswith("--virtual-time")]
    command += ["--remote-debugging-pipe", "--disable-features=IsolateSandboxedIframes"]
    (theirs_in, to), (back, theirs_out) = os.pipe(), os.pipe()
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20) for fd in (theirs_in, theirs_out)]

    def place() -> None:
        """Chromium reads from 3 and writes to 4."""
        os.dup2(high[0], 3)
        os.dup2(high[1], 4)

    with (scratch / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            command, preexec_fn=place, pass_fds=(3, 4), stdout=log, stderr=log
        )
    for fd in (theirs_in, theirs_out, *high):
        os.close(fd)
    try:
        yield Window(to, back)
    finally:
        process.kill()
        process.wait()
        os.close(to)
        os.close(back)
