"""Ray itself: starting it quietly, checking that it can give what is asked, mapping tasks.

With `tuner.py`, `searcher.py` and `scheduler.py` the only files that know Ray.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys.errors import ConfigError
from search import guard
from search.guard import Guard

# Ray's phoning home, its own loggers and its chatter; a token is of no use on 127.0.0.1, but a
# user's own setting wins.
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "30",
    "TUNE_WARN_THRESHOLD_S": "10",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}

LOOK_EVERY_S = 0.25


@dataclass(frozen=True)
class Resources:
    """What one trial gets, and how many run at once."""

    cpus_per_trial: int
    gpus_per_trial: float
    cores: int
    concurrent: int


def resolve_device(device: str, gpus_per_trial: float) -> str:
    """`auto` is cuda where GPUs were asked for and torch sees one, else cpu."""
    if device == "cpu" or (device == "auto" and gpus_per_trial <= 0):
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if device == "auto":
        return "cpu"
    raise ConfigError("--device cuda: torch sees no GPU on this machine; use --device cpu")


def cause_of(error: Exception) -> str:
    """One line of an exception that Ray raises: what the task raised, or what became of it."""
    inner = getattr(error, "cause", None)
    if isinstance(inner, BaseException):
        return f"{type(inner).__name__}: {inner}"
    return f"the worker died ({type(error).__name__})"


def cores_from_environment() -> int | None:
    """Cores that a Ray started here may use, from RECSEARCH_CPUS; None: all of the machine."""
    text = os.environ.get("RECSEARCH_CPUS", "")
    if not text:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= 4096:
        raise ConfigError(f"RECSEARCH_CPUS is {text!r}: expected a whole number of cores from 1")
    return int(text)


@contextmanager
def own_sigterm() -> Iterator[None]:
    """Keep our handler of SIGTERM: `ray.init` puts ones of its own in place that exit at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit:
        # Ray's handler, while Ray was starting: for us a signal is an interruption.
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGTERM, ours)


class Cluster:
    """A running Ray, started here or joined by address; use as a context manager."""

    def __init__(
        self,
        address: str | None = None,
        num_cpus: int | None = None,
        on_lost: Callable[[str], None] | None = None,
        last_words: str = "",
    ) -> None:
        """`on_lost` is called, in a thread of its own, with what of a local Ray has died.

        `last_words` are said on stderr if this process is killed.
        """
        self.address = address
        self.on_lost = on_lost
        self._closing = threading.Event()
        self.num_cpus = num_cpus if num_cpus is not None else cores_from_environment()
        self._last_words = last_words
        self._guard: Guard | None = None

    def __enter__(self) -> Cluster:
        for key, value in _QUIET.items():
            os.environ.setdefault(key, value)
        import ray

        # Workers get the project on their path wherever they start (multi-node: installed there).
        root = str(Path(__file__).resolve().parent.parent)
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        env = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONWARNINGS": "ignore"}
        common: dict[str, Any] = {
            "log_to_driver": False,
            "logging_level": logging.ERROR,
            "configure_logging": True,
            "runtime_env": {"env_vars": env},
        }
        try:
            with own_sigterm():
                if self.address:
                    ray.init(address=self.address, **common)
                else:
                    self._start_here(common)
        except (ConnectionError, ValueError) as error:
            where = self.address or "this machine"
            raise ConfigError(f"--address: no Ray cluster answers at {where}: {error}") from None
        for name in ("ray", "ray.tune"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        # What Ray says of dead workers stands in the trials that they ran, or that ran again.
        ray._private.worker.print_to_stdstream = lambda *_, **__: None
        self._ray = ray
        return self

    def _start_here(self, common: dict[str, Any]) -> None:
        # Ray replaces 127.0.0.1 by the machine's address unless it believes that this machine
        # takes part in no cluster; its own servers and this process have to agree on that.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        import ray
        from ray._private import ray_constants

        ray_constants.ENABLE_RAY_CLUSTER = False
        self._guard = Guard(self._last_words)
        os.environ[guard.MARK] = self._guard.mark
        try:
            # "local": without it a cluster that someone else started would be joined
            context = ray.init(
                address="local",
                num_cpus=self.num_cpus,
                include_dashboard=False,
                _node_ip_address="127.0.0.1",
                **common,
            )
        except BaseException:
            self._guard.close()
            raise
        finally:
            del os.environ[guard.MARK]
        self._guard.watch_session(str(context.address_info["session_dir"]))
        if self.on_lost is not None:
            threading.Thread(target=self._watch, args=(self.on_lost,), daemon=True).start()

    def lost(self) -> str | None:
        """Which of the servers of a Ray started here is dead ("raylet", "gcs_server"), if any."""
        from ray._private import worker

        node = worker._global_node
        if self.address or node is None or self._closing.is_set():
            return None
        dead = node.dead_processes()
        return str(dead[0][0]) if dead else None

    def _watch(self, on_lost: Callable[[str], None]) -> None:
        while not self._closing.wait(LOOK_EVERY_S):
            if (what := self.lost()) is not None:
                on_lost(what)
                return

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._ray.shutdown()
        if self._guard is not None:
            self._guard.close()

    def dismiss_guard(self) -> None:
        """To be called before this process ends by its own doing, but not through `__exit__`."""
        if self._guard is not None:
            self._guard.dismiss()

    def preflight(self, cpus_per_trial: int, gpus_per_trial: float, device: str) -> Resources:
        """Refuse what the cluster can never give: Ray itself would only warn and wait."""
        total = self._ray.cluster_resources()
        cpus, gpus = int(total.get("CPU", 0)), float(total.get("GPU", 0))
        if cpus_per_trial > cpus:
            raise ConfigError(f"--cpus-per-trial {cpus_per_trial}: there are {cpus} CPU cores")
        largest = max(n["Resources"].get("CPU", 0) for n in self._ray.nodes() if n["Alive"])
        if cpus_per_trial > largest:
            raise ConfigError(
                f"--cpus-per-trial {cpus_per_trial}: the largest machine has {int(largest)} cores"
            )
        if gpus_per_trial > gpus:
            raise ConfigError(f"--gpus-per-trial {gpus_per_trial:g}: there are {gpus:g} GPUs")
        if device == "cuda" and gpus_per_trial <= 0:
            raise ConfigError("--device cuda: say --gpus-per-trial too (0.25 puts four on one GPU)")
        concurrent = cpus // cpus_per_trial
        if gpus_per_trial > 0:
            concurrent = min(concurrent, int(gpus / gpus_per_trial))
        return Resources(cpus_per_trial, gpus_per_trial, cpus, max(1, concurrent))

    def put(self, value: object) -> Any:
        """Put a value into the object store; workers read its arrays without copying."""
        return self._ray.put(value)

    def map(
        self,
        function: Callable[..., dict[str, Any]],
        tasks: Iterable[tuple[Any, ...]],
        resources: Resources,
    ) -> Iterator[dict[str, Any]]:
        """Results of `function(*task)` as they finish; dead workers are retried twice.

        A task that failed all the same gives `task` (its index), `cause` (one line), `error`.
        """
        ray = self._ray
        remote = ray.remote(
            num_cpus=resources.cpus_per_trial, num_gpus=resources.gpus_per_trial, max_retries=2
        )(function)
        index = {remote.remote(*task): number for number, task in enumerate(tasks)}
        pending = list(index)
        while pending:
            done, pending = ray.wait(pending, num_returns=1)
            try:
                yield ray.get(done[0])
            except ray.exceptions.RayError as error:
                yield {"task": index[done[0]], "cause": cause_of(error), "error": str(error)}
