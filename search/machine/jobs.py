"""Ray's Jobs API, for a machine that can reach only the dashboard of a cluster's head.

A search is submitted by Ray's own `ray job submit`, which offers no way to get files back. So a
further job writes the run folder into its log, from which it is read here.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import re
import shlex
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from recsys.errors import ConfigError
from search.machine import environment
from search.machine.beat import EVERY_S, beat
from search.machine.head import CONNECT_S, TOKEN

ADDRESS = "RAY_API_SERVER_ADDRESS"  # which `ray job` reads too
EXPECTED = "expected the address of the head's dashboard, http://HOST:8265"
JOB_S, POLL_S = 300.0, 0.5
SAY_AFTER_S, SAY_AGAIN_S = 5.0, EVERY_S

_PACK = Path(__file__).with_name("pack_run.py").read_text(encoding="utf-8")


def dashboard(address: str | None) -> str:
    """The address of the dashboard: the one given, or else the one in the environment.

    Raises ConfigError where there is none, or where it is not the address of a server.
    """
    found = address or os.environ.get(ADDRESS)
    if not found:
        raise ConfigError(f"--from is missing, and {ADDRESS} is not set: {EXPECTED}")
    if not re.fullmatch(r"https?://[^\s/]+/?", found):
        raise ConfigError(f"{'--from' if address else ADDRESS} {found}: {EXPECTED}")
    return found


def archive_of(address: str, folder: str, note: Callable[[str], None]) -> bytes:
    """A zip archive of a run folder on the head of the cluster whose dashboard is at `address`.

    note: called with a line for the user while that takes long. Raises ConfigError where it cannot
    be fetched.
    """
    _check_port(address)
    environment.apply(joined=True)
    os.environ[ADDRESS] = address  # Ray prefers this to the address that it is passed
    import requests
    from ray.exceptions import AuthenticationError

    try:
        text = _output_of(shlex.join(["python", "-I", "-c", _PACK, folder]), address, note)
    except AuthenticationError:
        raise ConfigError(f"{address}: the cluster asks for a token: {TOKEN}") from None
    except (ConnectionError, RuntimeError, ValueError, requests.RequestException) as error:
        raise ConfigError(_no_answer(address, " ".join(str(error).split())[:300])) from None
    return unpacked(text, f"{folder} on {address}")


def _check_port(address: str) -> None:
    """Raise ConfigError where nothing listens: Ray's client would wait forever."""
    parts = urlsplit(address)
    try:
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        socket.create_connection((parts.hostname or "", port), CONNECT_S).close()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ConfigError(_no_answer(address, why)) from None


def _no_answer(address: str, why: str) -> str:
    return f"{address}: no Ray dashboard answers there ({why}): {EXPECTED}"


def _output_of(entrypoint: str, address: str, note: Callable[[str], None]) -> str:
    """What a job wrote, once it has ended. note: as in `archive_of`."""
    from ray.job_submission import JobStatus, JobSubmissionClient

    logging.getLogger("ray").setLevel(logging.ERROR)
    client = JobSubmissionClient(address)
    step = "a job there is being submitted"

    def say(passed: float) -> None:
        note(f"waiting for {address} for {passed:.0f} s: {step}")

    with beat(say, SAY_AFTER_S, SAY_AGAIN_S):
        job = client.submit_job(entrypoint=entrypoint)
        step = f"the job {job} reads the folder ({JOB_S:.0f} s at most)"
        status = _ended(client, job, address)
        step = f"the output of the job {job} is being sent"
        text = str(client.get_job_logs(job))
    if status is not JobStatus.SUCCEEDED:
        said = " ".join(str(client.get_job_info(job).message).split())[-300:]
        raise ConfigError(f"{address}: the job {job} that reads the folder has failed: {said}")
    client.delete_job(job)
    return text


def _ended(client: Any, job: str, address: str) -> Any:
    """The status of a job that has ended; one that takes too long is stopped. Raises ConfigError.

    client: of Ray's Jobs API at `address`.
    """
    end = time.monotonic() + JOB_S
    try:
        while not (status := client.get_job_status(job)).is_terminal():
            if time.monotonic() > end:
                raise ConfigError(f"{address}: the job {job} has not ended within {JOB_S:.0f} s")
            time.sleep(POLL_S)
    except BaseException:
        client.stop_job(job)
        raise
    return status


def unpacked(text: str, what: str) -> bytes:
    """The archive in the log of a job, as `pack_run` wrote it. what: its name, for the message.

    Raises ConfigError with the error that the job wrote, or where the archive is incomplete.
    """
    before, end = _last_object(text.splitlines())
    if "error" in end:
        raise ConfigError(f"{what}: {end['error']}")
    count = int(end.get("lines", 0))
    try:
        parts = [base64.b64decode(line, validate=True) for line in before[len(before) - count :]]
    except ValueError:
        parts = []
    archive = b"".join(parts)
    if not archive or hashlib.sha256(archive).hexdigest() != end["sha256"]:
        raise ConfigError(f"{what}: it arrived incomplete: try again")
    return archive


def _last_object(lines: list[str]) -> tuple[list[str], dict[str, Any]]:
    """The last line that is a JSON object, and the lines before it."""
    for number in range(len(lines) - 1, -1, -1):
        if lines[number].startswith("{"):
            try:
                return lines[:number], dict(json.loads(lines[number]))
            except ValueError:
                continue
    return [], {}
