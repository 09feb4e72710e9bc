"""How long a job may take, and what ends one that hangs."""

import faulthandler
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_GRACE = 5.0  # seconds that a hanging process has to leave by itself


class Overdue(Exception):
    """A job took longer than it may."""


@contextmanager
def at_most(limit: float | None) -> Iterator[None]:
    """Raise `Overdue` in this thread once `limit` seconds are over.

    It ends whatever comes back to Python now and then: loops, sleeps, a loader that waits. A call
    that never returns from C goes on; `or_die` ends that with its process. Only the main thread
    gets signals: in others this does nothing.
    """
    if limit is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise Overdue(f"stopped after {limit:g} s, the limit for a trial's training")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def or_die(limit: float | None) -> Iterator[None]:
    """End this process, with its stack on standard error, where `at_most` could not.

    For a worker: its driver sees it die, and gives the job to another.
    """
    if limit is None:
        yield
        return
    faulthandler.dump_traceback_later(limit + _GRACE, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
