"""A study that may still be growing: read again when it has changed, and only then."""

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

from cmt_search.analysis import Analysis
from cmt_search.errors import CmtSearchError

Stamp = Callable[[], Hashable]
_REST = 3  # times as long as it took to read, before it is read again


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Snapshot:
    """The study as it was last read."""

    version: int = 0  # rises with every change; 0: nothing was read yet
    analysis: Analysis | None = None
    problem: str = ""  # why the last reading failed; the analysis is then the one before it
    read_at: str = ""  # local time of the last change, HH:MM:SS


class Live:
    """Holds the newest snapshot; any thread may look at it or ask for a newer one."""

    def __init__(self, load: Callable[[], Analysis], *, stamp: Stamp | None = None) -> None:
        self._load = load
        self._stamp = stamp
        self._seen: Hashable = None
        self._reading = threading.Lock()
        self._rest_until = 0.0  # of the monotonic clock
        self._snapshot = Snapshot()

    @property
    def snapshot(self) -> Snapshot:
        """What is known now, without waiting."""
        return self._snapshot

    def refresh(self) -> Snapshot:
        """Read the study if it has changed.

        Who asks while another thread reads gets the old snapshot at once: a browser asks again.
        """
        if self._reading.acquire(blocking=False):
            try:
                self._read()
            finally:
                self._reading.release()
        return self._snapshot

    def _read(self) -> None:
        old = self._snapshot
        if old.version and not old.problem and time.monotonic() < self._rest_until:
            return
        # Taken before reading: what is written meanwhile is then seen next time.
        stamp = self._stamp() if self._stamp else None
        if self._stamp and old.version and not old.problem and stamp == self._seen:
            return
        began = time.monotonic()
        try:
            analysis = self._load()
        except CmtSearchError as error:  # no study yet, or one that is being moved
            self._snapshot = replace(old, problem=str(error))
            return
        took = time.monotonic() - began
        # A large study that grows all the time must not keep a core busy with reading it.
        self._rest_until = time.monotonic() + (_REST * took if took > 1 else 0)
        self._seen = stamp
        if old.analysis is not None and old.analysis.records == analysis.records:
            self._snapshot = replace(old, problem="")
            return
        self._snapshot = Snapshot(
            version=old.version + 1, analysis=analysis, read_at=time.strftime("%H:%M:%S")
        )
