"""Reading a study: for everybody but its driver."""

from pathlib import Path

from cmt_search.errors import RunError
from cmt_search.search.attributes import read_micro_batches, trial_record
from cmt_search.search.record import TrialRecord
from cmt_search.search.run_folder import RunFolder


def read_trials(
    run_dir: Path, *, storage: str | None = None, superseded: bool = False
) -> tuple[TrialRecord, ...]:
    """The trials of a run by number, also while a driver writes; changes nothing.

    Trials that another one takes the place of are left out, unless `superseded` asks for them.
    Those that the study has as running are interrupted where no process drives the run.

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
    return tuple(
        trial_record(trial, micro_batches=sizes, driven=driven)
        for trial in trials
        if trial.number not in gone
    )
