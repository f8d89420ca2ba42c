"""Which environment variables reach Ray and its workers.

Other programs leave variables of Ray behind: another Ray job, a cluster's profile, a notebook. A
Ray started here belongs to this search alone, so only variables that tune Ray itself are kept. For
a cluster that is joined (`--address`) they say how to join it, and all are kept. How Tune is used
is always decided here. Nothing here imports Ray, which reads much of this while it is imported.
"""

from __future__ import annotations

import json
import os
import pwd
import secrets
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from recsys.errors import ConfigError
from recsys.safe_files import ONLY_TEMPORARY
from search.paths import import_path, working_directory

JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"

# How we use Tune, which nobody else's settings may change.
_TUNE = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "30",
    "TUNE_WARN_THRESHOLD_S": "10",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}
# Defaults: neither Ray nor MLflow (which Tune imports, and which would leave a file in the home
# folder) phones home or chatters, and a task that Ray ends because memory is low is tried as often
# as others. Ray's own niceness of 15 would leave a worker a 28th of a core beside any other program
# (ADR 175).
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_task_oom_retries": "2",
    "RAY_worker_niceness": "0",
}
# What a Ray started here is told, whatever was set. It takes part in no cluster: otherwise it would
# replace 127.0.0.1 by the machine's address. `uv run` would replace the workers' Python by its own.
_ALONE = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_AUTH_MODE": "token",
}
# Variables in capitals that a Ray started here takes from the user; those in small letters
# (RAY_memory_usage_threshold) tune Ray itself, and are kept too.
_KEPT = (
    "RAY_TMPDIR",
    "RAY_BACKEND_LOG_LEVEL",
    "RAY_OBJECT_STORE_ALLOW_SLOW_STORAGE",
    "RAY_DEFAULT_OBJECT_STORE_",
    "RAY_EXPERIMENTAL_NOSET_",
    "RAY_OVERRIDE_JOB_RUNTIME_ENV",
)
# Left by Ray in whatever it starts, or by an earlier start in this process: not worth a note.
_INTERNAL = ("RAY_JOB_ID", "RAY_RAYLET_", "RAY_NODE_", "RAY_AUTH_TOKEN", "RAY_CLIENT_MODE", JOB)


@dataclass(frozen=True)
class RayEnvironment:
    """variables: to set here. removed: to unset here. worker: variables that workers get in
    addition. notes: lines for the user.
    """

    variables: dict[str, str]
    removed: tuple[str, ...]
    worker: dict[str, str]
    notes: tuple[str, ...] = ()


def ray_environment(
    env: Mapping[str, str], *, code: list[str], cwd: str, joined: bool, token: str
) -> RayEnvironment:
    """The environment of Ray and its workers, from that of this process.

    env: the environment now. code: folders to import the project from, where Python would not find
    it on its own. cwd: what relative paths in PYTHONPATH start from. joined: whether Ray runs
    already (`--address`). token: the password of a Ray started here; only the environment of its
    processes has it, so that nothing is written into the home folder, and no other user of the
    machine can run code through Ray's port. Raises ConfigError for a job's configuration that can't
    be read.
    """
    ours = _TUNE | ({} if joined else _ALONE | {"RAY_AUTH_TOKEN": token})
    job = _job_variables(env)
    worker = {ONLY_TEMPORARY: "1"} if joined else dict(job)  # a node's home is not ours
    worker |= {"PYTHONWARNINGS": "ignore", "OMP_PROC_BIND": "false"}
    path = _python_path([env.get("PYTHONPATH"), job.get("PYTHONPATH")], code, cwd)
    if path or not joined:  # if there is nothing to add, the nodes of a cluster keep their own
        worker["PYTHONPATH"] = path
    foreign = [name for name in env if _foreign(name, joined) and name not in ours]
    said = sorted(n for n in foreign if not n.startswith(_INTERNAL) and n not in _QUIET)
    variables = {k: v for k, v in _QUIET.items() if k not in env} | ours
    if joined and JOB in env:
        variables[JOB] = _without_folder(env[JOB])
        variables["RAY_OVERRIDE_JOB_RUNTIME_ENV"] = "1"  # ours win where a variable is set twice
    return RayEnvironment(variables, tuple(sorted(foreign)), worker, _left_out(said))


def _left_out(names: list[str]) -> tuple[str, ...]:
    if not names:
        return ()
    shown = ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
    words = "is ignored: it is" if len(names) == 1 else "are ignored: they are"
    return (f"{shown} {words} not meant for this search",)


def _foreign(name: str, joined: bool) -> bool:
    if name.startswith("TUNE_"):
        return True
    if joined or not name.startswith("RAY_"):
        return False
    small = name.removeprefix("RAY_")[:1].islower()
    return not (small or name in _QUIET or name.startswith(_KEPT))


def _job_variables(env: Mapping[str, str]) -> dict[str, str]:
    """The variables that `ray job submit --runtime-env-json` gave the workers of a job."""
    if not (text := env.get(JOB, "")):
        return {}
    try:
        given = (json.loads(text).get("runtime_env") or {}).get("env_vars") or {}
        return {str(name): str(value) for name, value in given.items()}
    except (ValueError, AttributeError):
        raise ConfigError(
            f"{JOB}: {text[:80]!r}: expected the JSON object that `ray job submit` writes; unset it"
        ) from None


def _without_folder(text: str) -> str:
    """A job's configuration without the folder that was submitted.

    Only the driver needs it: workers get the code as from any driver, and the data through the
    object store. For workers that folder would also come first on their path.
    """
    job = json.loads(text)  # `_job_variables` has read it
    given = dict(job.get("runtime_env") or {})
    given.pop("working_dir", None)
    return json.dumps(job | {"runtime_env": given})


def _python_path(given: list[str | None], code: list[str], cwd: str) -> str:
    """PYTHONPATH of the workers: the project first, then what was given, absolute.

    Empty entries are dropped: they mean the working directory, which has data but no modules.
    """
    parts = [part for text in given if text for part in text.split(os.pathsep) if part]
    return os.pathsep.join(dict.fromkeys([*code, *(str(Path(cwd) / part) for part in parts)]))


@dataclass(frozen=True)
class Applied:
    """An environment in force. before: the values from before, by variable; None: it was unset."""

    joined: bool
    worker: dict[str, str]
    notes: tuple[str, ...]
    before: dict[str, str | None]

    def undo(self) -> None:
        """Put everything back."""
        global _in_force
        _in_force = None
        for name, value in self.before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


_in_force: Applied | None = None


@cache
def _token() -> str:
    """The same token throughout this process, since Ray reads it only once."""
    return secrets.token_hex(32)


def apply(joined: bool) -> Applied:
    """Bring the environment of this process into the state that Ray is to see.

    joined: whether a cluster is joined. A further call returns what is in force. Must be called
    before Ray is imported, which then reads some of it. Raises ConfigError.
    """
    global _in_force
    if _in_force is not None and _in_force.joined == joined:
        return _in_force
    env = os.environ
    cwd = str(working_directory())
    code = [] if joined else import_path()  # a cluster gets the code itself, see `shipping`
    found = ray_environment(env, code=code, cwd=cwd, joined=joined, token=_token())
    touched = [*found.variables, *found.removed]
    before = {name: env.get(name) for name in touched}
    for name in found.removed:
        env.pop(name, None)
    env.update(found.variables)
    _in_force = Applied(joined, found.worker, found.notes, before)
    return _in_force


@contextmanager
def elsewhere(folder: str) -> Iterator[None]:
    """Within the block the working directory is `folder`; afterwards it is restored, even if that
    folder was deleted.

    Ray puts the working directory first on the workers' path, where a user's numba.py or search.py
    beside the data would be imported instead of the real one.
    """
    try:
        back = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:  # a folder that cannot be read can still be returned to by its name
        back, name = -1, str(working_directory())
    os.chdir(folder)
    try:
        yield
    finally:
        if back < 0:
            os.chdir(name)
        else:
            os.fchdir(back)
            os.close(back)


def name_user(env: MutableMapping[str, str] = os.environ) -> None:
    """Give a user whom the system does not know (a number, in a container) a home and a name.

    MLflow and torch end with a traceback without them. An empty HOME counts as none.
    """
    if not env.get("HOME", "x"):
        del env["HOME"]
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        env.setdefault("HOME", "/")  # as container engines do; nothing is written there
        if not any(env.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME")):
            env["USER"] = f"uid-{os.getuid()}"


# --- what numerical libraries read while they are imported ----------------------------------------

_COUNTS = (
    "NUMBA_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OMP_THREAD_LIMIT",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMEXPR_MAX_THREADS",
)

# Variables (batch systems set them) by which OpenMP, when loaded, binds the first thread of a
# process to a core, so that this process would count a single core and all of its workers would be
# on it; with the values under which nothing is bound.
_BINDING = {
    "OMP_PROC_BIND": ("false",),
    "OMP_PLACES": ("",),
    "GOMP_CPU_AFFINITY": ("",),
    "KMP_AFFINITY": ("none", "disabled"),
}


def odd_threads(env: Mapping[str, str]) -> dict[str, str]:
    """By name, what is expected of variables whose values numba or OpenMP cannot use."""
    odd: dict[str, str] = {}
    for name in _COUNTS:
        parts = env.get(name, "1").split(",") if name == "OMP_NUM_THREADS" else [env.get(name, "1")]
        if not all(p.strip().isascii() and p.strip().isdecimal() and int(p) > 0 for p in parts):
            odd[name] = "a whole number, at least 1"
    if env.get("NUMBA_DISABLE_JIT", "0").strip() != "0":
        odd["NUMBA_DISABLE_JIT"] = "0, since the kernels run compiled only"
    if env.get("NUMBA_OPT", "3") not in ("0", "1", "2", "3", "max"):
        odd["NUMBA_OPT"] = "0, 1, 2, 3 or max"
    for name, free in _BINDING.items():
        if env.get(name, free[0]).strip().lower() not in free:
            odd[name] = f"{free[0] or 'none'}, since it would put all trials on the same core"
    return odd


def tidy_threads(env: MutableMapping[str, str] = os.environ) -> list[str]:
    """Remove the variables that `odd_threads` finds; returns a line for each that was not empty."""
    lines = []
    for name, expected in odd_threads(env).items():
        value = env.pop(name)
        if value.strip():
            lines.append(f"note: {name}={value[:40]!r} is ignored: expected {expected}")
    return lines


def runtime_env(worker: Mapping[str, str], python: str) -> dict[str, Any]:
    """The `runtime_env` of a Ray that is started here. worker: variables of its workers. python:
    the interpreter that they run.
    """
    return {"env_vars": dict(worker), "py_executable": python}
