"""A scheduler on a study in a folder, driven to its end."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cmt_search.search.executors.inline import InlineExecutor
from cmt_search.search.scheduler import Scheduler
from cmt_search.search.serialization import read_micro_batches, superseded, trial_record
from cmt_search.search.storage import StudyStore
from cmt_search.search.types import TrialRecord
from tests.search.lookup import FakeSpace


def open_store(folder: Path, space: FakeSpace) -> StudyStore:
    return StudyStore.open(
        f"sqlite:///{folder}/study.db",
        name="study",
        run_id="1",
        fingerprint=space.fingerprint,
        objectives=space.objectives,
    )


def records(store: StudyStore, *, every: bool = False) -> list[TrialRecord]:
    """The trials that count; `every`: with those that others take the place of."""
    trials = store.trials()
    gone = frozenset() if every else superseded(trials)
    sizes = read_micro_batches(store.attributes())
    return [trial_record(t, micro_batches=sizes) for t in trials if t.number not in gone]


def drive(
    store: StudyStore, space: FakeSpace, evaluator: Callable[..., Any], **known: Any
) -> Scheduler:
    """A session that runs until there is nothing to do."""
    scheduler = Scheduler(space, store, **known)
    InlineExecutor().run(scheduler, lambda: evaluator, stop=lambda: False)
    return scheduler
