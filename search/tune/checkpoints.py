"""Long trials do not start over when their worker dies: they continue from a checkpoint.

The worker makes one from time to time (`Keeper`) and puts it into the object store; its next report
names it; the driver writes it to the run folder (`Shelf`) and hands it to whichever worker trains
the trial again, in this session or the next. A trial of a few minutes makes none, unless its node
is told to end. However many run at once, all together send `RATE` bytes a second at most (ADR 190).
"""

from __future__ import annotations

import hashlib
import math
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import recsys
from recsys.models.progress import Checkpoint
from search.machine.leaving import own_node_leaves
from search.record.folder import write_atomic
from search.record.journal import StorageError

EVERY_S = 120.0  # of a trial's time, between two of its checkpoints
LEAVING_S = 5.0  # in place of `EVERY_S` on a node that was told to end, which is asked as often
SHARE = 0.02  # of a trial's time, that making them may take
LARGEST = 1 << 29  # bytes; a larger training makes none
RATE = 1 << 25  # bytes a second, of all trials at once: a quarter of a network of 1 Gbit/s
FROM = "from"  # its key in the config of a trial


class Keeper:
    """The checkpoints of one trial, in its worker."""

    def __init__(
        self,
        resume: Checkpoint | None,
        put: Callable[[bytes], Any],
        every: float = EVERY_S,
        clock: Callable[[], float] = time.monotonic,
        trials: int = 1,
        leaves: Callable[[], bool] = own_node_leaves,
        by: str = "",
    ) -> None:
        """resume: the checkpoint that the trial continues from. put: stores one in the object
        store. every: the least seconds between two of them. trials: how many run at once. leaves:
        whether the node of this worker was told to end. by: what the trial is trained by.
        """
        self.resume, self._by = resume, by
        self._put, self._every, self._clock, self._trials = put, every, clock, trials
        self._last, self._cost = clock(), 0.0  # when one was made, and the seconds it took
        self._leaves, self._asks_at, self._leaving = leaves, clock() + LEAVING_S, False
        self._made: Any = None

    def offer(self, size: int, make: Callable[[], Checkpoint]) -> None:
        """Make a checkpoint if one is due and its `size`, in bytes, is not too large."""
        self._ask()
        began = self._clock()
        share = 0.0 if self._leaving else self._trials * size / RATE
        rest = max(self._every, self._cost / SHARE, share)
        if began < self._last + rest or size > LARGEST:
            return
        self._made = self._put(signed(make(), self._by))
        self._last = self._clock()
        self._cost = self._last - began

    def _ask(self) -> None:
        """Where the node was told to end, one is due now, and others follow soon."""
        now = self._clock()
        if now < self._asks_at:
            return
        self._asks_at = now + LEAVING_S
        if self._leaves():
            self._leaving, self._asks_at = True, math.inf
            self._last, self._every = -math.inf, min(self._every, LEAVING_S)

    @property
    def waiting(self) -> bool:
        """Whether a checkpoint was made that no report has named yet."""
        return self._made is not None

    def take(self) -> Any:
        """The checkpoint that the next report names; None where there is none."""
        made, self._made = self._made, None
        return made


class Shelf:
    """The newest checkpoint of each trial that runs, in the folder of the run.

    Within `with shelf:` a thread fetches and writes them, one at a time and at `RATE`, so that
    Ray's loop never waits for one. After the block what has not been written is left out.
    """

    def __init__(
        self,
        folder: Path,
        fetch: Callable[[Any], bytes | None],
        put: Callable[[bytes], Any],
        note: Callable[[str], None],
    ) -> None:
        """fetch: reads one from the object store, None where it was lost with its worker. put:
        stores one there, None where there is no room. note: shows the user a line.
        """
        self._folder = folder
        self._fetch, self._put, self._note = fetch, put, note
        self._full = self._closed = False
        self._changed = threading.Condition()  # of what follows
        self._coming: dict[str, Any] = {}  # the newest of each trial that was not fetched yet
        self._at: str | None = None  # the trial whose checkpoint is being fetched or written
        self._over = False  # whether that trial has ended meanwhile
        self._writing = False

    def __enter__(self) -> Shelf:
        self._closed = False
        threading.Thread(target=self._carry_all, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            self._coming.clear()
            self._changed.notify_all()

    def keep(self, name: str, made: Any) -> None:
        """Have the checkpoint `made`, as a report of the trial `name` names it, written to the
        folder; of one trial only the newest that waits for that.
        """
        with self._changed:
            if not self._full:
                self._coming[name] = made
                self._changed.notify_all()

    def carry(self) -> int:
        """Fetch and write the checkpoint that has waited longest; returns its bytes."""
        with self._changed:
            if not self._coming:
                return 0
            self._at, self._over = next(iter(self._coming)), False
            name, made = self._at, self._coming.pop(self._at)
        content = self._fetch(made)
        with self._changed:
            self._writing = not (content is None or self._over or self._closed)
        if self._writing and content is not None:
            self._write(name, content)
        with self._changed:
            if self._over:
                self._remove(name)
            self._at, self._writing = None, False
            self._changed.notify_all()
        return 0 if content is None else len(content)

    def _write(self, name: str, content: bytes) -> None:
        try:
            self._folder.mkdir(exist_ok=True)
            write_atomic(self._path(name), content)
        except (OSError, StorageError) as error:
            with self._changed:
                self._full = True
                self._coming.clear()
            self._note(f"note: long trials keep no checkpoints from now on: {error}")

    def _carry_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._coming)
                if self._closed:
                    return
            self._rest(self.carry() / RATE)

    def _rest(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed, seconds)

    def handed(self, name: str) -> dict[str, Any]:
        """What is added to the config of a trial that runs again: its checkpoint, if it has one."""
        try:
            put = self._put(self._path(name).read_bytes())
        except OSError:
            return {}
        return {} if put is None else {FROM: put}

    def drop(self, name: str) -> None:
        """Delete the checkpoint of a trial that is over."""
        with self._changed:
            self._coming.pop(name, None)
            if self._at == name:
                self._over = True  # whoever writes it now deletes it
            else:
                self._remove(name)

    def _remove(self, name: str) -> None:
        with suppress(OSError):
            self._path(name).unlink(missing_ok=True)

    def clear(self) -> None:
        """Delete all checkpoints: the search is over."""
        with self._changed:
            self._changed.wait_for(lambda: not self._writing)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.npz"


def signed(checkpoint: Checkpoint, by: str) -> bytes:
    """The bytes of a checkpoint, after the mark of what made it.

    by: the device and threads that train the trial; the saved arrays differ for others.
    """
    return _mark(by) + checkpoint.to_bytes()


def opened(content: bytes, by: str) -> Checkpoint | None:
    """The checkpoint of bytes that were `signed`; None if it is damaged, or was made by other code
    or trained by something else.
    """
    mark = _mark(by)
    if not content.startswith(mark):
        return None
    try:
        return Checkpoint.from_bytes(content[len(mark) :])
    except ValueError:
        return None


@cache
def _mark(by: str) -> bytes:
    """A digest of all training code, another version of which may keep its state differently, and
    of `by`.
    """
    digest = hashlib.sha256(by.encode())
    for source in sorted(Path(recsys.__file__).parent.rglob("*.py")):
        digest.update(source.read_bytes())
    return digest.digest()
