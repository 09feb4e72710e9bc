"""Ending a search early, in order: Ctrl-C once, or a time limit."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Literal

StopSignal = Callable[[], bool]
Why = Literal["interrupted", "time limit"]


class Stopper:
    """Says when no more jobs may be handed out."""

    def __init__(
        self, *, time_limit: float | None = None, on_stop: Callable[[Why], None] | None = None
    ) -> None:
        self._deadline = None if time_limit is None else time.monotonic() + time_limit
        self._interrupted = False
        self._on_stop = on_stop

    def __call__(self) -> bool:
        """Whether to stop."""
        if self.why is not None:
            self._tell(self.why)
        return self.why is not None

    @property
    def why(self) -> Why | None:
        """The reason to stop, if there is one."""
        if self._interrupted:
            return "interrupted"
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return "time limit"
        return None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the first SIGINT as a wish to stop after the running jobs; the second aborts.

        Other threads than the main one get no signals, and there this does nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, self._on_interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _on_interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = True
        self._tell("interrupted")

    def _tell(self, why: Why) -> None:
        """Say once that the end has begun, as running jobs may take a while."""
        if self._on_stop is not None:
            tell, self._on_stop = self._on_stop, None
            tell(why)
