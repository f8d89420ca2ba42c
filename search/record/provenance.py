"""Where a run comes from: code, versions, machine, data, seeds, command; provenance.json, typed."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
)

from search.paths import CODE, COMMAND, INSTALLED
from search.record.folder import PROVENANCE
from search.record.result import RefitOf, ResultPart
from search.record.settings import Settings
from search.words import hide_password, utc

PACKAGES = ("ray", "optuna", "mlflow", "torch", "numba", "numpy", "scipy", "pandas", "pydantic")
READ = "read"  # validation context for reading a file, which anybody may have changed


class Facts(ResultPart):
    """A part of provenance.json. No result depends on it: when it is read (`READ`), a value that
    cannot be used counts as missing. Keys that only another version knows are kept.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    @field_validator("*", mode="wrap")
    @classmethod
    def _or_none(
        cls, value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> Any:
        try:
            return handler(value)
        except ValidationError:
            if info.context != READ:
                raise
            return cls.model_fields[info.field_name or ""].default


class DataFacts(Facts):
    """The data. source: a name, or an absolute path. positives: interactions. times: the first and
    the last, in seconds since 1970; None where the data have no times.
    """

    source: str | None = None
    name: str | None = None
    digest: str | None = None
    users: int | None = None
    items: int | None = None
    positives: int | None = None
    times: tuple[int, int] | None = None


class SplitFacts(Facts):
    """How data was held out."""

    name: str | None = None
    digest: str | None = None
    seed: int | None = None


class CodeFacts(Facts):
    """The code. commit: of the checkout; modified: whether files differ from it; None without git.
    version: of an installation, which has no commit.
    """

    commit: str | None = None
    modified: bool | None = None
    version: str | None = None


class MachineFacts(Facts):
    """The driver's machine. cores: how many may be used."""

    cpu: str | None = None
    cores: int | None = None
    memory_gib: float | None = None
    system: str | None = None


class SessionFacts(Facts):
    """The facts of one start or resume. time: when it began, UTC. packages: versions by name."""

    time: str | None = None
    command: str | None = None
    code: CodeFacts = CodeFacts()
    python: str | None = None
    packages: Mapping[str, str | None] = {}
    machine: MachineFacts = MachineFacts()


def _sessions(value: Any) -> Any:
    """The entries of a list that are sessions; damaged ones are dropped."""
    known = value if isinstance(value, list | tuple) else ()
    return [one for one in known if isinstance(one, dict | SessionFacts)]


class SearchFacts(Facts):
    """What was searched. settings: for people to read; those that count are in the journal.
    refit_of: the run whose winner was trained again, where this is not a search.
    """

    data: DataFacts = DataFacts()
    split: SplitFacts = SplitFacts()
    seed: int | None = None
    settings: Settings | None = None
    refit_of: RefitOf | None = None


class Provenance(SessionFacts, SearchFacts):  # the fields of the last class come first in the file
    """The content of provenance.json: what was searched, the last session, and all sessions."""

    sessions: Annotated[tuple[SessionFacts, ...], BeforeValidator(_sessions)] = ()

    def plain(self) -> dict[str, Any]:
        """As values that JSON has, without fields that were never given and without passwords."""
        plain: dict[str, Any] = _without_passwords(super().plain())
        return plain


def session_facts() -> SessionFacts:
    """The facts of this start or resume."""
    return SessionFacts(
        time=utc(time.time()),
        command=hide_password(shlex.join(sys.argv)),
        code=code_facts(),
        python=platform.python_version(),
        packages={name: _version(name) for name in PACKAGES},
        machine=machine_facts(),
    )


def read_provenance(run_dir: Path) -> Provenance:
    """The content of the file; an empty one where it is missing or damaged."""
    try:
        found = json.loads((run_dir / PROVENANCE).read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError):
        return Provenance()
    return Provenance.model_validate(found if isinstance(found, dict) else {}, context=READ)


def times_of(run_dir: Path) -> tuple[int, int] | None:
    """The first and the last time of a run's data, in seconds since 1970; None where unknown."""
    return read_provenance(run_dir).data.times


def provenance(previous: Provenance, facts: SearchFacts) -> Provenance:
    """The new content of provenance.json: `facts`, the facts of this session, and the sessions in
    `previous`, the old content.
    """
    now = session_facts()
    known = {name: getattr(part, name) for part in (facts, now) for name in part.model_fields_set}
    return Provenance(**known, sessions=(*previous.sessions, now))


def _without_passwords(value: Any) -> Any:
    """`value` with `hide_password` applied to every string in it."""
    if isinstance(value, str):
        return hide_password(value)
    if isinstance(value, dict):
        return {key: _without_passwords(inner) for key, inner in value.items()}
    return [_without_passwords(inner) for inner in value] if isinstance(value, list) else value


def code_facts() -> CodeFacts:
    """The code that is running; with a `version` only for an installation."""
    if INSTALLED:
        return CodeFacts(commit=None, modified=None, version=_version(COMMAND))
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return CodeFacts(commit=None, modified=None)
    return CodeFacts(commit=commit, modified=bool(_git("status", "--porcelain", "-uno")))


def machine_facts() -> MachineFacts:
    """Processor, usable cores, memory and system of this machine."""
    return MachineFacts(
        cpu=_cpu_model(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
    )


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
        return None  # otherwise git would find another checkout further up
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
