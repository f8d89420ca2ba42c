"""Ray itself: starting it quietly, checking that it can give what is asked, mapping tasks."""

from __future__ import annotations

import logging
import os
import platform
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from recsys.errors import ConfigError
from search import guard
from search.guard import Guard
from search.machine import environment, ray_folder
from search.machine.ask_nodes import answer, draining
from search.machine.cores import usable_cores
from search.machine.head import refusal
from search.machine.lean import servers_in_own_group, without_idle_servers, without_words_of_workers
from search.machine.leaving import Leaving
from search.machine.node_watch import NodeWatch, RayDoor
from search.machine.nodes import MODULES, Place, cannot_run
from search.machine.place import check_fits
from search.machine.pulse import pulse
from search.machine.room import Room, fit_at_once
from search.machine.shipping import script_elsewhere, shipped
from search.machine.workers import NoWorkersError, Patience, cause_of, start_trouble, trouble_in
from search.paths import SPACES, working_directory

LOOK_EVERY_S, LOOK_AT_WORKERS_S = 0.25, 5.0
FETCH_S = 60.0  # how long the driver waits for what a worker has put into the object store
NODES_EVERY_S = 1.0  # how often nodes are counted, so that one that joins is used within seconds
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Failure:
    """Why a task has no result. cause: in one line; error: in full, with a traceback."""

    cause: str
    error: str


@dataclass(frozen=True)
class Resources:
    """What one trial gets, and how many run at once.

    cores: of all nodes. concurrent: trials at once. largest: bytes that the node with the most
    memory offers, of those with the cores and GPUs of a trial; None where trials do not ask for
    memory. memory: bytes that a trial asks for on average.
    """

    cpus_per_trial: int
    gpus_per_trial: float
    cores: int
    concurrent: int
    largest: int | None = None
    memory: int = 0

    @property
    def room(self) -> Room:
        """What a trial asks of a node, on average."""
        return Room(self.cpus_per_trial, self.gpus_per_trial, self.memory)


def resolve_device(device: str, gpus_per_trial: float, address: str | None = None) -> str:
    """The device to train on: `auto` is cuda where GPUs were asked for and torch sees one, else
    cpu.

    With an address, the torch of this machine does not matter: every worker decides for itself
    (`own_device`). Raises ConfigError where cuda was asked for and torch sees no GPU here.
    """
    if device == "cpu" or (device == "auto" and gpus_per_trial <= 0):
        return "cpu"
    if address:
        return device
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if device == "auto":
        return "cpu"
    raise ConfigError("--device cuda: torch sees no GPU on this machine; use --device cpu")


@contextmanager
def own_sigterm() -> Iterator[None]:
    """Keep our handler of SIGTERM within the block.

    `ray.init` installs handlers that exit at once, and `ray.shutdown` restores the default one,
    which kills this process.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit:
        # from Ray's handler while Ray was starting: here a signal counts as an interruption
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
        note: Callable[[str], None] = lambda _line: None,
        place: Place | None = None,
    ) -> None:
        """address: of a cluster to join; None: start Ray here. num_cpus: the cores of a Ray that is
        started here. on_lost: called, in a thread of its own, with the name of a server of a Ray
        started here that died. last_words: written to stderr if this process is killed. note:
        called with a line for the user where no worker starts, or a node is left out. place: which
        nodes of a joined cluster can work, and which are left out.
        """
        self.address = address
        self.place = place or Place()
        self.on_lost = on_lost
        self._closing = threading.Event()
        self.num_cpus = num_cpus
        if num_cpus is None and not address:
            self.num_cpus = usable_cores()
        self._cwd = working_directory()
        self._last_words, self._note = last_words, note
        self.watch: NodeWatch | None = None  # over the nodes of a joined cluster
        self._guard: Guard | None = None
        self._session: Path | None = None
        self._titled = False
        self._silent, self._pulse = ExitStack(), ExitStack()

    def __enter__(self) -> Cluster:
        self._environment = environment.apply(bool(self.address))
        import ray
        from ray._raylet import Config  # type: ignore[attr-defined]

        Config.initialize("")  # if Ray was imported before, it has read an older environment
        # Workers on other machines have a Python of their own, and get the code from here. Workers
        # of a Ray started here run this Python, whose name Ray passes to a shell.
        worker = self._environment.worker
        if self.address:
            sent = shipped(worker)
        else:
            sent = environment.runtime_env(worker, shlex.quote(sys.executable))
        common: dict[str, Any] = {
            "log_to_driver": False,
            "logging_level": logging.ERROR,
            "configure_logging": True,
            "runtime_env": sent,
        }
        try:
            # Instead of the user's working directory, workers get one without modules.
            with own_sigterm(), environment.elsewhere(str(SPACES)):
                if self.address:
                    self._join(common)
                else:
                    self._start_here(common)
        except BaseException:
            self._environment.undo()
            raise
        for name in ("ray", "ray.tune"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._silent.enter_context(without_words_of_workers())
        self._ray = ray
        if self.address:
            self.watch = NodeWatch(self.place, RayDoor(), self._note, leaving=Leaving(self._note))
            self._pulse.enter_context(pulse(draining, self._note))
        return self

    def _join(self, common: dict[str, Any]) -> None:
        import ray

        self._guard = Guard(self._last_words)  # Ray ends this process if the head is gone
        try:
            with script_elsewhere():
                ray.init(address=self.address, **common)
        except BaseException as error:
            self._guard.close()
            if not isinstance(error, ConnectionError | ValueError | RuntimeError):
                raise
            said = [f"{type(error).__name__}: {' '.join(str(error).split())}"]
            raise ConfigError(f"--address {self.address}: {refusal(said)}") from None

    def _start_here(self, common: dict[str, Any]) -> None:
        import ray
        from ray._private import ray_constants

        ray_constants.ENABLE_RAY_CLUSTER = False  # see RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER
        folder = ray_folder.usable(ray_folder.choose(os.environ, self._cwd)).path
        self._guard = Guard(self._last_words)
        os.environ[guard.MARK] = self._guard.mark
        try:
            # without "local", Ray would join a cluster that someone else started
            with without_idle_servers(), servers_in_own_group():
                context = ray.init(
                    address="local",
                    num_cpus=self.num_cpus,
                    include_dashboard=False,
                    _node_ip_address="127.0.0.1",
                    _temp_dir=str(folder),
                    **common,
                )
        except BaseException as error:
            self._guard.close()
            if not isinstance(error, Exception):
                raise
            raise start_failure(error, folder) from error
        finally:
            del os.environ[guard.MARK]
        self._session = Path(context.address_info["session_dir"])
        self._guard.watch_session(str(self._session))
        if self.on_lost is not None:
            threading.Thread(target=self._watch, args=(self.on_lost,), daemon=True).start()

    def lost(self) -> str | None:
        """The server of a Ray started here that is dead ("raylet", "gcs_server"), if any."""
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

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._closing.set()
        self._pulse.close()
        with own_sigterm():
            self._ray.shutdown()
        self._silent.close()
        if self._guard is not None:
            self._guard.close()
        if self._session is not None and kind is None:
            ray_folder.remove_session(self._session)  # its logs matter only if something went wrong
        self._environment.undo()

    def dismiss_guard(self) -> None:
        """Call this before ending this process deliberately without `__exit__`."""
        if self._guard is not None:
            self._guard.dismiss()

    def preflight(
        self, cpus_per_trial: int, gpus_per_trial: float, device: str, memory: int = 0
    ) -> Resources:
        """What trials get, and how many run at once. Raises ConfigError where no node can run a
        trial: Ray itself would only warn and wait.

        memory: bytes that a trial asks for on average; 0 where none asks.
        """
        # on a cluster, what may never answer is no room: it counts once it has (`slots`)
        sure = None if self.watch is None else self.watch.working()
        nodes = [node.room for node in sure] if sure else self.rooms()
        trial = Room(cpus_per_trial, gpus_per_trial)
        cores = int(sum(node.cpus for node in nodes))
        if cores or not self.address:  # else the first node was lost; another one may come
            check_fits(nodes, trial, device)
        # at least 1: of the nodes that a trial fits on, one has the memory or is to come
        at_once = max(1, fit_at_once(nodes, replace(trial, memory=memory)))
        largest = self.place.memory
        return Resources(cpus_per_trial, gpus_per_trial, cores, at_once, largest, memory)

    def rooms(self) -> list[Room]:
        """What every node has that is there now and is not left out."""
        if self.watch is not None:
            return [node.room for node in self.watch.usable()]
        return [Room.of(node["Resources"]) for node in self._ray.nodes() if node["Alive"]]

    @property
    def left_out(self) -> tuple[str, ...]:
        """Why nodes are left out, one line for each."""
        return self.place.lines if self.watch is None else tuple(self.watch.lines)

    def slots(self, resources: Resources) -> Callable[[], int] | None:
        """A function that says how many trials fit at once on the nodes there are now; None for a
        Ray that was started here.
        """
        if not self.address:
            return None
        looked, known = float("-inf"), resources.concurrent

        def now() -> int:
            nonlocal looked, known
            if time.monotonic() - looked >= NODES_EVERY_S:
                looked = time.monotonic()
                known = fit_at_once(self.rooms(), resources.room)
            return known

        return now

    @property
    def logs(self) -> Path | None:
        """The folder of log files of a Ray that was started here."""
        return None if self._session is None else self._session / "logs"

    def patience(self, what: str = "task", *, endless: bool = False) -> Patience:
        """A watch over workers that do not start. Parameters are those of `Patience`."""
        return Patience(
            self._note,
            self._trouble,
            joined=bool(self.address),
            nodes=self.rooms if self.address else None,
            what=what,
            endless=endless,
        )

    def _trouble(self) -> str | None:
        return trouble_in(self.logs) if self.watch is None else self.watch.trouble()

    def check_workers(self) -> None:
        """Start a worker that imports what a trial needs. Raises NoWorkersError if it cannot, or
        does not start, or hangs there for too long.
        """
        ray = self._ray
        watch = self.watch
        selector = self.place.selector if watch is None else watch.selector_of_working()
        task = ray.remote(num_cpus=1, max_retries=0, label_selector=selector)
        remote = task(import_failure).remote(MODULES)
        patience = self.patience()
        while not ray.wait([remote], timeout=LOOK_AT_WORKERS_S)[0]:
            if (why := patience.look(False, [Room(1)])) is not None:
                ray.cancel(remote, force=True)
                raise NoWorkersError(why)
        try:
            host, error = ray.get(remote)
        except ray.exceptions.RayError as death:
            raise NoWorkersError(f"workers cannot start: {cause_of(death)}") from None
        if error is not None:
            raise NoWorkersError(f"{host} {cannot_run(error)}")

    def put(self, value: object) -> Any:
        """Put a value into the object store; workers read its arrays without copying."""
        return self._ray.put(value)

    def store(self, content: bytes) -> Any:
        """Put bytes into the object store as `put` does; None if it has no room for them."""
        try:
            return self._ray.put(content)
        except self._ray.exceptions.RayError:
            return None

    def fetch(self, kept: Any) -> bytes | None:
        """What a worker has put into the object store; None if it was lost with the worker."""
        try:
            content: bytes = self._ray.get(kept, timeout=FETCH_S)
        except self._ray.exceptions.RayError:
            return None
        return content

    def map(
        self,
        function: Callable[..., Answer],
        tasks: Iterable[tuple[Any, ...]],
        resources: Resources,
        memory: Sequence[int] = (),
        enough: Callable[[], bool] = lambda: False,
    ) -> Iterator[tuple[int, Answer | Failure]]:
        """The index of each task and the result of `function(*task)`, as they finish.

        resources: of a task. memory: bytes that each task asks a node for, 0 for none; empty: no
        task asks. enough: asked now and then; where it says so, nothing more is waited for, as if
        the iterator were closed. A task whose worker dies is tried twice more; one that still fails
        gives a Failure. What fails on a node that is left out does not count. Closing the iterator
        cancels what has not finished. Raises NoWorkersError where no worker starts for too long; on
        a cluster, where no node could hold what is left. Nodes that are only busy are waited for
        without an end.
        """
        if self.watch is not None:
            there = self._map_there(self.watch, function, list(tasks), resources, memory, enough)
            yield from there
            return
        ray = self._ray
        remote = ray.remote(
            num_cpus=resources.cpus_per_trial,
            num_gpus=resources.gpus_per_trial,
            max_retries=2,
        )(function)
        asks = dict(enumerate(memory))
        index = {
            remote.options(memory=asks.get(number) or None).remote(*task): number
            for number, task in enumerate(tasks)
        }
        pending = list(index)
        patience = self.patience()

        def cancel(those: Iterable[Any]) -> None:
            for one in those:
                ray.cancel(one, force=True)

        try:
            while pending:
                done, pending = ray.wait(pending, num_returns=1, timeout=LOOK_AT_WORKERS_S)
                if not done:
                    if enough():
                        cancel(pending)
                        return
                    if (why := patience.look(self._runs(function.__name__))) is not None:
                        raise NoWorkersError(why)
                    continue
                patience.look(running=True)
                try:
                    answer = ray.get(done[0])
                except ray.exceptions.RayError as error:
                    answer = Failure(cause_of(error), str(error))
                yield index[done[0]], answer
        except GeneratorExit:
            cancel(pending)
            raise

    def _map_there(
        self,
        nodes: NodeWatch,
        function: Callable[..., Answer],
        tasks: Sequence[tuple[Any, ...]],
        resources: Resources,
        memory: Sequence[int],
        enough: Callable[[], bool],
    ) -> Iterator[tuple[int, Answer | Failure]]:
        """As `map`, on a cluster that was joined."""
        from ray.air.execution.resources import ResourceRequest
        from ray.exceptions import RayError

        from search.machine.seats import Seats
        from search.machine.tasks import Tasks

        asks = [bundle(resources, bytes_) for bytes_ in memory or [0] * len(tasks)]
        requests = [ResourceRequest([ask]) for ask in asks]
        patience = self.patience(endless=True)

        def look(running: bool, waiting: Sequence[int]) -> None:
            if (why := patience.look(running, (Room.of(asks[i]) for i in waiting))) is not None:
                raise NoWorkersError(why)

        calls = Tasks(function, tasks, requests, nodes, Seats(nodes))
        with closing(calls.answers(look, enough)) as found:
            for index, answer in found:
                if isinstance(answer, RayError):
                    yield index, Failure(cause_of(answer), str(answer))
                else:
                    yield index, answer

    def _runs(self, name: str) -> bool:
        """Whether a worker here runs the function `name`, which Ray shows in the title of the
        process; also True where processes have no titles.
        """
        titles = ray_titles()
        self._titled = self._titled or bool(titles)
        return not self._titled or any(title.startswith(f"ray::{name}") for title in titles)


def bundle(resources: Resources, memory: int) -> dict[str, float]:
    """What a trial or task asks of a node, in Ray's words. memory: bytes, 0 for none."""
    gpus = {"GPU": resources.gpus_per_trial} if resources.gpus_per_trial else {}
    return {"CPU": float(resources.cpus_per_trial)} | gpus | ({"memory": memory} if memory else {})


def ray_titles() -> set[str]:
    """Titles of the worker processes of every Ray on this machine."""
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc") if os.path.isdir("/proc") else []):  # noqa: PTH112, PTH208
        with suppress(OSError):
            title = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
            if title.startswith(b"ray::"):
                found.add(title.decode(errors="replace").strip())
    return found


def start_failure(error: Exception, folder: Path) -> ConfigError:
    """The exception of a Ray that did not start, as a ConfigError of one line. folder: Ray's."""
    if isinstance(error, ConfigError):
        return error
    if isinstance(error, OSError) and error.filename is not None:
        where = os.fsdecode(error.filename)
        return ConfigError(f"Ray cannot start on this machine: {where}: {error.strerror}")
    try:
        ray_folder.check(folder)  # it may have filled up meanwhile
    except ConfigError as full:
        return full
    sessions = ray_folder.sessions_of(folder, os.getpid())
    logs = sessions[-1] / "logs" if sessions else folder
    first = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return ConfigError(
        f"Ray cannot start on this machine: {start_trouble(logs) or first} (its log files: {logs})"
    )


def import_failure(modules: Sequence[str]) -> tuple[str, str | None]:
    """The name of this machine, and why it cannot import `modules`: None where it can."""
    return platform.node(), answer([], modules)["error"]
