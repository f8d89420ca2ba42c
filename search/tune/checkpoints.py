"""Long trials do not begin again where their worker dies: they continue from a checkpoint.

On its way: the worker makes one now and then (`Keeper`) and puts it into the object store, its next
report names it, the driver writes it to the run folder (`Shelf`) and gives it to whoever trains
that trial again, in this session or the next. A trial of minutes makes none.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import recsys
from recsys.models.progress import Checkpoint
from search.record.folder import write_atomic
from search.record.journal import StorageError

EVERY_S = 120.0  # of a trial's time, between two of its checkpoints
SHARE = 0.02  # of a trial's time, that making them may take
LARGEST = 1 << 29  # bytes; a larger training makes none
FROM = "from"  # what a config calls it


class Keeper:
    """The checkpoints of one trial, in its worker."""

    def __init__(
        self,
        resume: Checkpoint | None,
        put: Callable[[bytes], Any],
        every: float = EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """put: into the object store. every: seconds between two of them, at least."""
        self.resume = resume
        self._put, self._every, self._clock = put, every, clock
        self._due = clock() + every
        self._made: Any = None

    def offer(self, size: int, make: Callable[[], Checkpoint]) -> None:
        """Make one if it is time to, and it is not too large."""
        began = self._clock()
        if began < self._due or size > LARGEST:
            return
        self._made = self._put(signed(make()))
        ended = self._clock()
        self._due = ended + max(self._every, (ended - began) / SHARE)

    @property
    def waiting(self) -> bool:
        """Whether one was made that no report has named."""
        return self._made is not None

    def take(self) -> Any:
        """What the next report names; None where there is none."""
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
        """fetch: out of the object store, None where it died with its worker. put: into it.
        note: for a line to the user.
        """
        self._folder = folder
        self._fetch, self._put, self._note = fetch, put, note
        self._full = False

    def keep(self, name: str, made: Any) -> None:
        """Take what a report of the trial `name` names."""
        if self._full or (content := self._fetch(made)) is None:
            return
        try:
            self._folder.mkdir(exist_ok=True)
            write_atomic(self._path(name), content)
        except (OSError, StorageError) as error:
            self._full = True
            self._note(f"note: long trials keep no checkpoints from here on: {error}")

    def handed(self, name: str) -> dict[str, Any]:
        """What is added to the config of a trial that runs again: its checkpoint, if it has one."""
        try:
            return {FROM: self._put(self._path(name).read_bytes())}
        except OSError:
            return {}

    def drop(self, name: str) -> None:
        """The trial is over."""
        with suppress(OSError):
            self._path(name).unlink(missing_ok=True)

    def clear(self) -> None:
        """The search is over."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.npz"


def signed(checkpoint: Checkpoint) -> bytes:
    """The content of a checkpoint, behind the mark of the code that made it."""
    return _mark() + checkpoint.to_bytes()


def opened(content: bytes) -> Checkpoint | None:
    """The checkpoint that was signed; None for one of other code, or a damaged one."""
    mark = _mark()
    if not content.startswith(mark):
        return None
    try:
        return Checkpoint.from_bytes(content[len(mark) :])
    except ValueError:
        return None


@cache
def _mark() -> bytes:
    """A digest of everything that trains: other code may keep its state in another way."""
    digest = hashlib.sha256()
    for source in sorted(Path(recsys.__file__).parent.rglob("*.py")):
        digest.update(source.read_bytes())
    return digest.digest()
