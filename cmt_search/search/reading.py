"""Reading a study: for everybody but its driver."""

from pathlib import Path

from cmt_search.errors import RunError
from cmt_search.search.attributes import trial_record
from cmt_search.search.record import TrialRecord
from cmt_search.search.run_folder import RunFolder


def read_trials(run_dir: Path, *, storage: str | None = None) -> tuple[TrialRecord, ...]:
    """The trials of a run by number, also while a driver writes; changes nothing.

    Raises:
        RunError: there is no run, or it has no study yet.
    """
    from cmt_search.search.storage import read_study  # a second that --help need not wait for

    run = RunFolder.open(run_dir)
    url = run.storage_url(storage)
    if run.info().storage is None and not run.study.exists():
        raise RunError(
            f"{run_dir} has no study yet; start it with `cmt-search resume {run_dir}`, "
            "or wait until it has begun"
        )
    return tuple(trial_record(trial) for trial in read_study(url, name=run.info().name))
