"""What other people's environments do to a search: one table, and the rules behind it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.errors import ConfigError
from search.machine.environment import (
    JOB,
    elsewhere,
    name_user,
    odd_threads,
    ray_environment,
    runtime_env,
    tidy_threads,
)

ROOT = "/opt/search"


def outcome(env: dict[str, str], joined: bool = False) -> tuple[dict[str, str], dict[str, str]]:
    """The environment of Ray's own processes, and what the workers get beside it."""
    found = ray_environment(env, code=[ROOT], cwd="/data", joined=joined, token="secret")
    after = {k: v for k, v in env.items() if k not in found.removed} | found.variables
    return after, found.worker


def job(**variables: str) -> str:
    return json.dumps({"runtime_env": {"env_vars": variables}, "metadata": {}})


# environment, then what Ray sees of these names (None: nothing), for a Ray of our own
OWN = [
    ({}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "secret", "RAY_CHDIR_TO_TRIAL_DIR": "0"}),
    ({"TUNE_RESULT_DIR": "/x"}, {"TUNE_RESULT_DIR": None}),
    ({"TUNE_MAX_PENDING_TRIALS_PG": "abc"}, {"TUNE_MAX_PENDING_TRIALS_PG": None}),
    ({"TUNE_GLOBAL_CHECKPOINT_S": "no"}, {"TUNE_GLOBAL_CHECKPOINT_S": "30"}),
    ({"TUNE_DISABLE_SIGINT_HANDLER": "0"}, {"TUNE_DISABLE_SIGINT_HANDLER": "1"}),
    ({"RAY_CHDIR_TO_TRIAL_DIR": "1"}, {"RAY_CHDIR_TO_TRIAL_DIR": "0"}),
    ({"RAY_AIR_NEW_OUTPUT": "1"}, {"RAY_AIR_NEW_OUTPUT": "0"}),
    ({"RAY_AIR_LOCAL_CACHE_DIR": "/x"}, {"RAY_AIR_LOCAL_CACHE_DIR": None}),
    ({"RAY_ADDRESS": "10.0.0.1:6379"}, {"RAY_ADDRESS": None}),
    ({"RAY_NAMESPACE": "x"}, {"RAY_NAMESPACE": None}),
    ({"RAY_RUNTIME_ENV_HOOK": "no.such.hook"}, {"RAY_RUNTIME_ENV_HOOK": None}),
    ({"RAY_USE_TLS": "1"}, {"RAY_USE_TLS": None}),
    ({"RAY_OVERRIDE_RESOURCES": '{"CPU": 99}'}, {"RAY_OVERRIDE_RESOURCES": None}),
    ({"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_MODE": "token"}),
    ({"RAY_AUTH_TOKEN_PATH": "/none"}, {"RAY_AUTH_TOKEN_PATH": None}),
    ({JOB: job(A="1")}, {JOB: None}),
    ({"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "1"}, {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}),
    # Ray's own tuning is the user's, and so is where its files lie
    ({"RAY_memory_usage_threshold": "0.5"}, {"RAY_memory_usage_threshold": "0.5"}),
    ({"RAY_task_oom_retries": "9"}, {"RAY_task_oom_retries": "9"}),
    ({}, {"RAY_worker_niceness": "0"}),
    ({"RAY_worker_niceness": "15"}, {"RAY_worker_niceness": "15"}),
    ({"RAY_TMPDIR": "/scratch"}, {"RAY_TMPDIR": "/scratch"}),
    ({"RAY_USAGE_STATS_ENABLED": "1"}, {"RAY_USAGE_STATS_ENABLED": "1"}),
    # nobody else's are touched
    ({"http_proxy": "http://127.0.0.1:1", "no_proxy": ""}, {"http_proxy": "http://127.0.0.1:1"}),
    ({"TUNED": "1", "RAYON_NUM_THREADS": "2"}, {"TUNED": "1", "RAYON_NUM_THREADS": "2"}),
]


@pytest.mark.parametrize(("env", "expected"), OWN, ids=[", ".join(e) or "none" for e, _ in OWN])
def test_a_ray_of_our_own(env: dict[str, str], expected: dict[str, str | None]) -> None:
    after, _ = outcome(env)
    assert {name: after.get(name) for name in expected} == expected


# a cluster that is joined: how to join it is the user's to say
JOINED = [
    ({}, {"RAY_AUTH_MODE": None, "RAY_AUTH_TOKEN": None}),
    ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "t"}, {"RAY_AUTH_TOKEN": "t"}),
    ({"RAY_USE_TLS": "1"}, {"RAY_USE_TLS": "1"}),
    ({"RAY_ADDRESS": "10.0.0.1:6379"}, {"RAY_ADDRESS": "10.0.0.1:6379"}),
    ({"TUNE_RESULT_DIR": "/x"}, {"TUNE_RESULT_DIR": None}),
    ({JOB: job(A="1")}, {JOB: job(A="1"), "RAY_OVERRIDE_JOB_RUNTIME_ENV": "1"}),
    # the folder of a submitted job is the driver's alone
    (
        {JOB: '{"runtime_env": {"working_dir": "gcs://x.zip", "pip": []}, "metadata": {"a": "b"}}'},
        {JOB: '{"runtime_env": {"pip": []}, "metadata": {"a": "b"}}'},
    ),
    ({JOB: '{"metadata": {"a": "b"}}'}, {JOB: '{"metadata": {"a": "b"}, "runtime_env": {}}'}),
]


@pytest.mark.parametrize(
    ("env", "expected"), JOINED, ids=[", ".join(e) or "none" for e, _ in JOINED]
)
def test_a_cluster_that_is_joined(env: dict[str, str], expected: dict[str, str | None]) -> None:
    after, _ = outcome(env, joined=True)
    assert {name: after.get(name) for name in expected} == expected


# PYTHONPATH, that of a job, that of the workers
PATHS = [
    ("", None, ROOT),
    ("/a:/b", None, f"{ROOT}:/a:/b"),
    (":/a:", None, f"{ROOT}:/a"),  # an empty entry is the working directory
    (".", None, f"{ROOT}:/data"),
    ("lib", None, f"{ROOT}:/data/lib"),
    (ROOT, None, ROOT),
    ("", "/j", f"{ROOT}:/j"),
    ("/a", "/j:/a", f"{ROOT}:/a:/j"),
]


@pytest.mark.parametrize(("own", "jobs", "expected"), PATHS)
@pytest.mark.parametrize("joined", [False, True])
def test_the_workers_path(own: str, jobs: str | None, expected: str, joined: bool) -> None:
    env = {"PYTHONPATH": own} | ({} if jobs is None else {JOB: job(PYTHONPATH=jobs)})
    assert outcome(env, joined)[1]["PYTHONPATH"] == expected


def test_code_that_python_finds_by_itself_is_not_on_the_workers_path() -> None:
    found = ray_environment({}, code=[], cwd="/", joined=False, token="t")
    assert found.worker["PYTHONPATH"] == ""  # not an empty entry of ours, which is a folder
    found = ray_environment({}, code=[], cwd="/", joined=True, token="t")
    assert "PYTHONPATH" not in found.worker  # that of the cluster's machines stays
    env = {"PYTHONPATH": "lib"}
    found = ray_environment(env, code=[], cwd="/data", joined=False, token="t")
    assert found.worker["PYTHONPATH"] == "/data/lib"


def test_a_jobs_other_variables_reach_the_workers() -> None:
    assert outcome({JOB: job(A="1", PYTHONWARNINGS="error")})[1] == {
        "A": "1",
        "PYTHONPATH": ROOT,
        "PYTHONWARNINGS": "ignore",
        "OMP_PROC_BIND": "false",
    }


@pytest.mark.parametrize("text", ["", "{}", '{"runtime_env": null}', '{"runtime_env": {}}'])
def test_a_job_without_variables(text: str) -> None:
    assert outcome({JOB: text})[1]["PYTHONPATH"] == ROOT


@pytest.mark.parametrize("text", ["x", "[]", "3", '{"runtime_env": 3}', '{"runtime_env": "pip"}'])
def test_a_job_that_cannot_be_read_is_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match="unset it") as caught:
        outcome({JOB: text})
    assert "\n" not in str(caught.value)


def test_what_is_left_out_is_said_once_without_what_ray_left_itself() -> None:
    env = {"RAY_ADDRESS": "x", "TUNE_RESULT_DIR": "y", "RAY_JOB_ID": "1", "RAY_RAYLET_PID": "2"}
    found = ray_environment(env, code=[ROOT], cwd="/", joined=False, token="t")
    assert found.notes == (
        "RAY_ADDRESS, TUNE_RESULT_DIR are ignored: they are not meant for this search",
    )
    after, _ = outcome(env)
    again = ray_environment(after, code=[ROOT], cwd="/", joined=False, token="t")
    assert again.notes == ()  # a driver that begins anew says nothing of its own settings


@given(
    st.dictionaries(
        st.from_regex(r"(RAY_|TUNE_|)[A-Za-z_]{1,12}", fullmatch=True), st.text(max_size=8)
    )
)
def test_whatever_is_there_ours_count_and_nothing_foreign_stays(env: dict[str, str]) -> None:
    after, worker = outcome(env)
    bare, _ = outcome({})
    for name in set(after) - set(bare):
        assert name in env
        assert not name.startswith("TUNE_")
    assert worker["PYTHONPATH"].split(":")[0] == ROOT


def test_the_python_of_workers_is_quoted_for_the_shell() -> None:
    found = runtime_env({"A": "1"}, "'/my project/python'")
    assert found == {"env_vars": {"A": "1"}, "py_executable": "'/my project/python'"}


def test_elsewhere_comes_back_even_to_a_folder_that_was_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    here = Path("/proc/self/cwd").readlink() if Path("/proc/self/cwd").exists() else gone
    with pytest.raises(RuntimeError), elsewhere("/"):
        assert Path.cwd() == Path("/")
        gone.rmdir()
        raise RuntimeError
    with pytest.raises(FileNotFoundError):
        Path.cwd()
    os.chdir(tmp_path)
    assert here == gone


# a variable, its value, whether the libraries can live with it
THREADS = [
    ("OMP_NUM_THREADS", "4", True),
    ("OMP_NUM_THREADS", "4,2", True),
    ("OMP_NUM_THREADS", "abc", False),
    ("OMP_NUM_THREADS", "0", False),
    ("OMP_NUM_THREADS", "", False),
    ("OMP_NUM_THREADS", "1.5", False),
    ("NUMBA_NUM_THREADS", "2", True),
    ("NUMBA_NUM_THREADS", "abc", False),
    ("NUMBA_NUM_THREADS", "0", False),
    ("NUMBA_NUM_THREADS", "-3", False),
    ("NUMBA_NUM_THREADS", "", False),
    ("NUMBA_NUM_THREADS", "٣", False),
    ("MKL_NUM_THREADS", "all", False),
    ("OPENBLAS_NUM_THREADS", " 8 ", True),
    ("NUMBA_DISABLE_JIT", "1", False),
    ("NUMBA_DISABLE_JIT", "0", True),
    ("NUMBA_OPT", "fast", False),
    ("NUMBA_OPT", "3", True),
    ("NUMBA_CACHE_DIR", "/anywhere", True),
    ("OMP_PROC_BIND", "true", False),
    ("OMP_PROC_BIND", "close", False),
    ("OMP_PROC_BIND", "FALSE", True),
    ("OMP_PLACES", "cores", False),
    ("GOMP_CPU_AFFINITY", "0-1", False),
    ("KMP_AFFINITY", "compact", False),
    ("KMP_AFFINITY", "none", True),
]


@pytest.mark.parametrize(("name", "value", "fine"), THREADS)
def test_thread_variables(name: str, value: str, fine: bool) -> None:
    assert (odd_threads({name: value}) == {}) is fine
    env = {name: value, "HOME": "/x"}
    lines = tidy_threads(env)
    assert env == ({name: value, "HOME": "/x"} if fine else {"HOME": "/x"})
    assert len(lines) == (0 if fine or not value.strip() else 1)
    assert all(line.startswith(f"note: {name}=") for line in lines)


@pytest.mark.parametrize("name", ["OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY"])
def test_torch_leaves_all_cores_to_a_process(name: str) -> None:
    value = {"OMP_PROC_BIND": "close", "OMP_PLACES": "cores"}.get(name, "0")
    code = "from search.machine.environment import tidy_threads; import os; tidy_threads()\n"
    code += "import torch; print(len(os.sched_getaffinity(0)))"
    env = os.environ | {name: value}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout.strip() == str(len(os.sched_getaffinity(0))), done.stderr


# environment, whether the system knows the user, then HOME and USER
USERS = [
    ({"HOME": "/home/me"}, True, "/home/me", None),
    ({}, True, None, None),
    ({"HOME": ""}, True, None, None),
    ({}, False, "/", "uid-12345"),
    ({"HOME": ""}, False, "/", "uid-12345"),
    ({"HOME": "/work", "LOGNAME": "me"}, False, "/work", None),
]


@pytest.mark.parametrize(("env", "known", "home", "user"), USERS)
def test_users_without_an_entry(
    monkeypatch: pytest.MonkeyPatch,
    env: dict[str, str],
    known: bool,
    home: str | None,
    user: str | None,
) -> None:
    def entry(_uid: int) -> object:
        if known:
            return object()
        raise KeyError

    monkeypatch.setattr("search.machine.environment.pwd.getpwuid", entry)
    monkeypatch.setattr("search.machine.environment.os.getuid", lambda: 12345)
    env = dict(env)
    name_user(env)
    assert (env.get("HOME"), env.get("USER")) == (home, user)
