"""Headless Chromium over its command line: the page after its scripts ran, console and requests."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--disable-default-apps --disable-extensions --metrics-recording-only "
    "--enable-logging=stderr --virtual-time-budget=3000"
)


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
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("chromium is not installed (make test-browser installs it)")
    log = scratch / "net.json"
    profile = scratch / "profile"
    command = [program, *FLAGS.split(), f"--user-data-dir={profile}", f"--log-net-log={log}"]
    # nothing but this machine has an address: neither the page nor Chromium reaches further
    command += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
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
