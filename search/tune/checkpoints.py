"""Long trials do not start over when their worker dies: they continue from a checkpoint.

The worker makes one from time to time (`Keeper`) and puts it into the object store; its next report
names it; the driver writes it to the run folder (`Shelf`) and hands it to whichever worker trains
the trial again, in this session or the next. A trial of a few minutes makes none, unless its node
is told to end.
"""

from __future__ import annotations

import hashlib
import math
import shutil
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
FROM = "from"  # its key in the config of a trial


class Keeper:
    """The checkpoints of one trial, in its worker."""

    def __init__(
        self,
        resume: Checkpoint | None,
        put: Callable[[bytes], Any],
        every: float = EVERY_S,
        clock: Callable[[], float] = time.monotonic,
        leaves: Callable[[], bool] = own_node_leaves,
    ) -> None:
        """resume: the checkpoint that the trial continues from. put: stores one in the object
        store. every: the least seconds between two of them. leaves: whether the node of this
        worker was told to end.
        """
        self.resume = resume
        self._put, self._every, self._clock = put, every, clock
        self._due = clock() + every
        self._leaves, self._asks_at = leaves, clock() + LEAVING_S
        self._made: Any = None

    def offer(self, size: int, make: Callable[[], Checkpoint]) -> None:
        """Make a checkpoint if one is due and its `size`, in bytes, is not too large."""
        self._ask()
        began = self._clock()
        if began < self._due or size > LARGEST:
            return
        self._made = self._put(signed(make()))
        ended = self._clock()
        self._due = ended + max(self._every, (ended - began) / SHARE)

    def _ask(self) -> None:
        """Where the node was told to end, one is due now, and others follow soon."""
        now = self._clock()
        if now < self._asks_at:
            return
        self._asks_at = now + LEAVING_S
        if self._leaves():
            self._asks_at = math.inf
            self._due, self._every = now, min(self._every, LEAVING_S)

    @property
    def waiting(self) -> bool:
        """Whether a checkpoint was made that no report has named yet."""
        return self._made is not None

    def take(self) -> Any:
        """The checkpoint that the next report names; None where there is none."""
        made, self._made = self._made, None
        return made


class Shelf:
    """The newest checkpoint of each trial that runs, in the folder of the run."""

    def __init__(
        self,
        folder: Path,
        fetch: Callable[[Any], bytes | None],
        put: Callable[[bytes], Any],
        note: Callable[[str], None],
    ) -> None:
        """fetch: reads one from the object store, None where it was lost with its worker. put:
        stores one there. note: shows the user a line.
        """
        self._folder = folder
        self._fetch, self._put, self._note = fetch, put, note
        self._full = False

    def keep(self, name: str, made: Any) -> None:
        """Write the checkpoint `made`, as a report of the trial `name` names it, to the folder."""
        if self._full or (content := self._fetch(made)) is None:
            return
        try:
            self._folder.mkdir(exist_ok=True)
            write_atomic(self._path(name), content)
        except (OSError, StorageError) as error:
            self._full = True
            self._note(f"note: long trials keep no checkpoints from now on: {error}")

    def handed(self, name: str) -> dict[str, Any]:
        """What is added to the config of a trial that runs again: its checkpoint, if it has one."""
        try:
            return {FROM: self._put(self._path(name).read_bytes())}
        except OSError:
            return {}

    def drop(self, name: str) -> None:
        """Delete the checkpoint of a trial that is over."""
        with suppress(OSError):
            self._path(name).unlink(missing_ok=True)

    def clear(self) -> None:
        """Delete all checkpoints: the search is over."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.npz"


def signed(checkpoint: Checkpoint) -> bytes:
    """The bytes of a checkpoint, after the mark of the code that made it."""
    return _mark() + checkpoint.to_bytes()


def opened(content: bytes) -> Checkpoint | None:
    """The checkpoint of bytes that were `signed`; None if other code made it or it is damaged."""
    mark = _mark()
    if not content.startswith(mark):
        return None
    try:
        return Checkpoint.from_bytes(content[len(mark) :])
    except ValueError:
        return None


@cache
def _mark() -> bytes:
    """A digest of all training code: another version may keep its state differently."""
    digest = hashlib.sha256()
    for source in sorted(Path(recsys.__file__).parent.rglob("*.py")):
        digest.update(source.read_bytes())
    return digest.digest()
