"""Lines for the user while something takes long that says nothing itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EVERY_S = 25.0  # so that nobody is without a line for half a minute


@contextmanager
def beat(say: Callable[[float], None], first: float, every: float = EVERY_S) -> Iterator[None]:
    """Call `say` from time to time until the block ends, in a thread of its own.

    say: is given the seconds that have passed. first: seconds until it is called first. every:
    seconds from then on.
    """
    ended = threading.Event()

    def watch() -> None:
        passed = first
        while not ended.wait(first if passed == first else every):
            say(passed)
            passed += every

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()  # no line comes after the block
