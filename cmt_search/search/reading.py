"""Reading a study: for everybody but its driver."""

from dataclasses import dataclass
from pathlib import Path

from cmt_search.errors import RunError
from cmt_search.search.attributes import TRIALS, read_micro_batches, trial_record
from cmt_search.search.record import TrialRecord
from cmt_search.search.run_folder import RunFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """What the study of a run holds."""

    trials: tuple[TrialRecord, ...]  # by number
    wanted: int | None  # trials in all, as --trials last said; None: the space's number
    driven: bool  # some process is at work on it


def read_trials(
    run_dir: Path, *, storage: str | None = None, superseded: bool = False
) -> tuple[TrialRecord, ...]:
    """The trials of a run by number, also while a driver writes; changes nothing.

    Trials that another one takes the place of are left out, unless `superseded` asks for them.
    Those that the study has as running are interrupted where no process drives the run.

    Raises:
        RunError: there is no run, or it has no study yet.
    """
    return read_run(run_dir, storage=storage, superseded=superseded).trials


def read_run(run_dir: Path, *, storage: str | None = None, superseded: bool = False) -> RunRecord:
    """The trials of a run as `read_trials` gives them, and what is known of the run itself.

    Raises:
        RunError: there is no run, or it has no study yet.
    """
    from cmt_search.search import superseding
    from cmt_search.search.storage import read_study  # a second that --help need not wait for

    run = RunFolder.open(run_dir)
    url = run.storage_url(storage)
    if run.info().storage is None and not run.study.exists():
        raise RunError(
            f"{run_dir} has no study yet; start it with `cmt-search resume {run_dir}`, "
            "or wait until it has begun"
        )
    driven = run.driver() is not None  # asked first: a driver that ends now has finished its trials
    trials, attributes = read_study(url, name=run.info().name)
    gone = frozenset() if superseded else superseding.superseded(trials)
    sizes = read_micro_batches(attributes)
    records = tuple(
        trial_record(trial, micro_batches=sizes, driven=driven)
        for trial in trials
        if trial.number not in gone
    )
    return RunRecord(trials=records, wanted=attributes.get(TRIALS), driven=driven)
