"""Whether the head of a joined cluster still answers, asked apart from what the driver does.

Where the head is dead, no call of the driver to it returns until Ray ends the driver, a minute
later, and what is shown meanwhile is what was known before.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from search.machine.beat import beat

EVERY_S = 1.0
SAY_AFTER_S = 10.0  # of silence


@contextmanager
def pulse(
    ask: Callable[[], object],
    note: Callable[[str], None],
    every: float = EVERY_S,
    first: float = SAY_AFTER_S,
) -> Iterator[None]:
    """Within the block a thread asks the head again and again, and lines say how long it has not
    answered.

    ask: returns once the head has answered; where it raises, the head has not. note: shows the user
    a line. every: seconds between two questions. first: seconds of silence before a line.
    """
    ended = threading.Event()

    def ask_once() -> None:
        silent = False

        def say(seconds: float) -> None:
            nonlocal silent
            silent = True
            note(f"the cluster's head has not answered for {seconds:.0f} s")

        with beat(say, first):
            while not (ended.is_set() or _answers(ask)):
                ended.wait(every)
        if silent and not ended.is_set():
            note("the cluster's head answers again")

    def watch() -> None:
        while not ended.wait(every):
            ask_once()

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        ended.set()  # the thread is not waited for: a dead head would never answer it


def _answers(ask: Callable[[], object]) -> bool:
    """Whether `ask` returns, however long that takes, and does not raise."""
    try:
        ask()
    except Exception:
        return False
    return True
