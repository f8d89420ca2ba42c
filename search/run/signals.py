"""Ctrl-C, SIGTERM and a hangup: a run ends properly and keeps everything. A second signal, or an
end that takes too long, stops it at once.
"""

from __future__ import annotations

import os
import select
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

EXIT_CODE = 130
GRACE_S = 4.5  # whatever a proper end still waits for, the user has the shell back in 5 s
DYING_MS = 100  # a reader that got the same Ctrl-C may need to die
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """What happens on a signal: the main thread gets a KeyboardInterrupt, once.

    A thread of its own counts the signals and the seconds, because Python runs a handler only when
    the main thread returns from the C++ code that it waits in, which may be never (Ray waiting for
    a machine that is gone). `last_words` are printed once, even if the end is not a proper one.
    `began` is when the command began, by `time.monotonic`, as far as that is known.
    """

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.pressed = False  # a signal has reached the main thread
        self.signalled = False  # a signal has reached this process
        self.last_words: str | None = "interrupted before the run began"
        self.before_leaving: Callable[[], None] = lambda: None
        self._postponed = False

    def __call__(self, _signum: int, _frame: FrameType | None) -> None:
        """The handler: raises KeyboardInterrupt the first time, unless `postponed`."""
        if not self.pressed:
            self.pressed = True
            if not self._postponed:
                raise KeyboardInterrupt

    @contextmanager
    def postponed(self) -> Iterator[None]:
        """Within the block nothing is raised; a signal raises KeyboardInterrupt after the block.

        This is for foreign code that calls Python back from C, where an exception would be printed
        and lost. The seconds still count: `GRACE_S` after the signal the process ends, even within
        the block.
        """
        before = self.pressed
        self._postponed = True
        try:
            yield
        finally:
            self._postponed = False
        if self.pressed and not before:
            raise KeyboardInterrupt

    def watch(self, pipe: int) -> None:
        """Read signal numbers from `pipe`; leave on the second, or `GRACE_S` after the first."""
        pressed = 0
        while got := os.read(pipe, 64):
            for number in (number for number in got if number in SIGNALS):
                if number == signal.SIGHUP and self.signalled:
                    continue  # the shell and the kernel both send one: this is not a second press
                pressed += 1
                self.signalled = True
                if pressed > 1:
                    self.leave()
                timer = threading.Timer(GRACE_S, self.leave)
                timer.daemon = True
                timer.start()

    def leave(self, code: int = EXIT_CODE) -> None:
        """End this process now. The journal has everything; Ray's processes die with us."""
        show_cursor()
        self.before_leaving()
        self.farewell()
        os._exit(code)

    def farewell(self) -> None:
        """Print how to resume, once, without using any buffer or lock that the signal may have
        interrupted.
        """
        words, self.last_words = self.last_words, None
        if words is not None:
            tell(f"{words}\n")


def tell(text: str) -> None:
    """Write to stdout; if nobody reads that any more (`| tee` died of the same Ctrl-C), to stderr,
    and if nobody reads that either, to the terminal itself.
    """
    data = text.encode(errors="replace")
    for fd in (1, 2):
        with suppress(OSError):
            if has_reader(fd):
                os.write(fd, data)
                return
    with suppress(OSError):
        terminal = os.open("/dev/tty", os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            if os.tcgetpgrp(terminal) == os.getpgrp():  # not over another program's output
                os.write(terminal, data)
        finally:
            os.close(terminal)


def has_reader(fd: int) -> bool:
    """Whether somebody, or a file, is at the other end of `fd` (and not /dev/null)."""
    if os.fstat(fd).st_rdev == os.stat(os.devnull).st_rdev:  # noqa: PTH116
        return False
    poll = select.poll()
    poll.register(fd, 0)  # for the only event that needs no request: the other end is gone
    wait_ms = DYING_MS if stat.S_ISFIFO(os.fstat(fd).st_mode) else 0
    return not poll.poll(wait_ms)


def show_cursor() -> None:
    """Show the cursor of the terminal again, which the live display had hidden."""
    with suppress(OSError):
        if os.isatty(1):
            os.write(1, b"\x1b[?25h\n")


def hangup_is_ignored() -> bool:
    """Whether the run is to outlive the terminal, because it was started with `nohup`."""
    return signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


@contextmanager
def terminable() -> Iterator[None]:
    """Within the block SIGTERM and a hangup end a short command properly, as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_signum: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    heard = [signal.SIGTERM] + ([] if hangup_is_ignored() else [signal.SIGHUP])
    before = {number: signal.signal(number, stop) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Within the block a first signal raises KeyboardInterrupt, a second one ends the process."""
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    threading.Thread(target=interruption.watch, args=(reader,), daemon=True).start()
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    heard = [n for n in SIGNALS if n != signal.SIGHUP or not hangup_is_ignored()]
    before = {number: signal.signal(number, interruption) for number in heard}
    try:
        yield interruption
    finally:
        # After a first signal the handlers stay: a second one while Python shuts down ends it too.
        if not interruption.pressed:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(wakeup)
            os.close(writer)  # ends the thread
