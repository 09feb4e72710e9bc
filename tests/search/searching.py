"""A scheduler on a study in a folder, driven to its end."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cmt_search.search.executors.inline import InlineExecutor
from cmt_search.search.scheduler import Scheduler
from cmt_search.search.serialization import trial_record
from cmt_search.search.storage import StudyStore
from cmt_search.search.types import TrialRecord
from tests.search.lookup import FakeSpace


def open_store(folder: Path, space: FakeSpace) -> StudyStore:
    return StudyStore.open(
        f"sqlite:///{folder}/study.db",
        name="study",
        run_id="1",
        objectives=space.objectives,
    )


def records(store: StudyStore) -> list[TrialRecord]:
    return [trial_record(trial) for trial in store.trials()]


def drive(
    store: StudyStore, space: FakeSpace, evaluator: Callable[..., Any], **known: Any
) -> Scheduler:
    """A session that runs until there is nothing to do."""
    scheduler = Scheduler(space, store, **known)
    InlineExecutor().run(scheduler, lambda: evaluator, stop=lambda: False)
    return scheduler
