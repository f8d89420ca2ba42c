"""Where a run comes from: code, versions, machine, data, seeds, command."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from search.paths import CODE, COMMAND, INSTALLED
from search.words import utc

PROVENANCE = "provenance.json"
PACKAGES = ("ray", "optuna", "mlflow", "torch", "numba", "numpy", "scipy", "pandas", "pydantic")


def hide_password(text: str) -> str:
    """`text` without the user and password of any address in it.

    >>> hide_password("--tracking-uri https://ann:secret@host/x")
    '--tracking-uri https://***@host/x'
    >>> hide_password("postgresql://host/x?user=ann&password=secret")
    'postgresql://host/x?user=ann&password=***'
    """
    # A password of a database may have a slash in it, and one typed carelessly an @.
    text = re.sub(r"://(?:[^/@:\s]*:[^\s'\"]*|[^/@\s]+)@", "://***@", text)
    return re.sub(r"([?&](?:ssl)?(?:password|passwd|pwd)=)[^&\s'\"]+", r"\1***", text)


def session_facts() -> dict[str, Any]:
    """What holds for one start or resume: time, command, code, versions, machine."""
    return {
        "time": utc(time.time()),
        "command": hide_password(shlex.join(sys.argv)),
        "code": code_facts(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "machine": machine_facts(),
    }


def read_provenance(run_dir: Path) -> dict[str, Any]:
    """The content of the file; nothing where it is missing or damaged: no result hangs on it."""
    try:
        found = json.loads((run_dir / PROVENANCE).read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def times_of(run_dir: Path) -> tuple[int, int] | None:
    """The first and the last time of a run's data, in seconds since 1970; None where not known."""
    data = read_provenance(run_dir).get("data")
    match data.get("times") if isinstance(data, dict) else None:
        case [int(first), int(last)]:
            return first, last
        case _:
            return None


def provenance(previous: dict[str, Any] | None, **facts: Any) -> dict[str, Any]:
    """The content of provenance.json: `facts` (data, split, seeds...), the facts of this session,
    and those of earlier ones (`previous` is the file's content before) under `sessions`.
    """
    now = session_facts()
    earlier = (previous or {}).get("sessions")
    return {
        **_without_passwords(facts),
        **now,
        "sessions": [*(earlier if isinstance(earlier, list) else ()), now],
    }


def _without_passwords(value: Any) -> Any:
    """`value` with `hide_password` applied to every string in it."""
    if isinstance(value, str):
        return hide_password(value)
    if isinstance(value, dict):
        return {key: _without_passwords(inner) for key, inner in value.items()}
    return [_without_passwords(inner) for inner in value] if isinstance(value, list) else value


def code_facts() -> dict[str, Any]:
    """Commit of the checkout and whether files differ from it; None without git.

    For an installation, its version too.
    """
    if INSTALLED:
        return {"commit": None, "modified": None, "version": _version(COMMAND)}
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return {"commit": None, "modified": None}
    return {"commit": commit, "modified": bool(_git("status", "--porcelain", "-uno"))}


def machine_facts() -> dict[str, Any]:
    """Processor, usable cores, memory in GiB, system."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or "unknown"
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or "unknown"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    """Output of a git command in the project's folder; None where git or a checkout is missing."""
    if not (CODE / ".git").exists():
        return None  # else git would find some other checkout further up
    try:
        done = subprocess.run(
            ["git", "-C", str(CODE), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
