"""Logging beside a search: in a thread of its own, which may be slow or fail without harm."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from cmt_search.atomic import write_whole
from cmt_search.errors import RunError
from cmt_search.search.job import Event, TrialFinished
from cmt_search.search.reading import read_trials
from cmt_search.search.record import TrialRecord
from cmt_search.search.run_folder import RunFolder, mask_passwords
from cmt_search.search.tracking.target import Target
from cmt_search.search.tracking.trial import Tracker, logged

_EVERY = 2.0  # seconds between looks at the study
_SHARE = 0.1  # of the time spent looking, where a study is so large that reading it takes long
_PATIENCE = 60.0  # seconds to wait for the last trials when a search ends
_ENDED = ("complete", "pruned", "failed")


class Follower:
    """A listener that has ended trials logged, those of earlier sessions first.

    A trial is logged once it has ended, whole, and the run's folder notes that it was: a resume
    goes on where this ended. A tracker that fails is left alone until then.
    """

    def __init__(
        self,
        folder: RunFolder,
        targets: Sequence[Target],
        *,
        storage: str | None,
        say: Callable[[str], None],
    ) -> None:
        self._folder, self._storage, self._say = folder, storage, say
        self._targets = list(targets)
        self._trackers: dict[Target, Tracker] = {}
        self._done = _read_marks(folder)
        self._news, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._follow, name="tracking", daemon=True)

    def __call__(self, event: Event) -> None:
        """Take note that a trial ended."""
        if isinstance(event, TrialFinished):
            self._news.set()

    def start(self) -> None:
        """Begin, with what earlier sessions left."""
        if self._begun:
            self._news.set()
        self._thread.start()

    @property
    def _begun(self) -> bool:
        return self._folder.study.exists() or self._folder.info().storage is not None

    def end(self) -> None:
        """Log what is left, and wait for it, though not for ever."""
        self._over.set()
        self._news.set()
        self._thread.join(_PATIENCE)
        if self._thread.is_alive():
            self._say("logging is behind; what is missing is logged by the next resume with --log")

    def _follow(self) -> None:
        while self._targets:
            self._news.wait()
            last = self._over.is_set()  # asked first: what ended until now is logged below
            self._news.clear()
            began = time.monotonic()
            self._catch_up()
            if last:
                return
            self._over.wait(max(_EVERY, (time.monotonic() - began) / _SHARE))
            if self._over.is_set():
                self._news.set()

    def _catch_up(self) -> None:
        try:
            records = read_trials(self._folder.path, storage=self._storage)
        except Exception as error:  # noqa: BLE001  # whatever reading raises, trainings go on
            early = isinstance(error, RunError) and not self._begun  # there is no study yet
            if self._over.is_set() and not early:
                self._say(f"nothing was logged: {mask_passwords(str(error))}")
            return
        for target in list(self._targets):
            try:
                self._log(target, records)
            except Exception as error:  # noqa: BLE001  # whatever a tracker raises, trainings go on
                self._targets.remove(target)
                told = (str(error).strip().splitlines() or ["no reason"])[0]
                self._say(
                    f"--log {mask_passwords(str(target))} failed, and logs no more in this session "
                    f"({type(error).__name__}: {mask_passwords(told)}); the search goes "
                    "on, and the next resume with --log logs what is missing"
                )

    def _log(self, target: Target, records: Sequence[TrialRecord]) -> None:
        """Log what has ended and is not yet noted as logged."""
        info, key = self._folder.info(), mask_passwords(str(target))
        done = self._done.setdefault(key, set())
        for record in records:
            if record.state not in _ENDED or record.number in done:
                continue
            if target not in self._trackers:
                self._trackers[target] = target.open(
                    self._folder.path, run=info.name, run_id=info.id
                )
            self._trackers[target].log(logged(record, run=info.name))
            done.add(record.number)
            _write_marks(self._folder, self._done)


@contextmanager
def tracking(
    folder: RunFolder,
    targets: Sequence[Target],
    *,
    storage: str | None = None,
    say: Callable[[str], None] = print,
) -> Iterator[Follower | None]:
    """A listener that logs ended trials, for as long as a search is driven; None: no targets."""
    if not targets:
        yield None
        return
    follower = Follower(folder, targets, storage=storage, say=say)
    follower.start()
    try:
        yield follower
    finally:
        follower.end()


def _read_marks(folder: RunFolder) -> dict[str, set[int]]:
    try:
        marks = json.loads(folder.logged.read_text())
        return {target: set(numbers) for target, numbers in marks.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _write_marks(folder: RunFolder, done: dict[str, set[int]]) -> None:
    marks = {target: sorted(numbers) for target, numbers in done.items()}
    write_whole(folder.logged, json.dumps(marks) + "\n")
