"""What is made of failures: whether a job is tried again, and when a search gives up."""

import math
import re
from collections import Counter

from cmt_search.evaluation import Measurement
from cmt_search.search.job import Failure, Identity, Job

_DEATHS = 2  # of a worker, forgiven at least: often a machine's fault, not the network's
_SAME = 5  # trials that fail with one reason, with nothing measured, before a search gives up
_ANY = 10  # likewise, whatever the reasons


class Attempts:
    """How often each job was tried in this session."""

    def __init__(self, retries: int) -> None:
        self._retries = retries
        self._failed: Counter[Identity] = Counter()

    def again(self, job: Job, failure: Failure) -> bool:
        """Take note of a failure; whether the job may be tried once more."""
        self._failed[job.identity] += 1
        if failure.kind in ("memory", "verdict"):  # the same seed would give the same again
            return False
        allowed = max(self._retries, _DEATHS) if failure.kind == "died" else self._retries
        return self._failed[job.identity] <= allowed

    def reason(self, job: Job, failure: Failure) -> str:
        """Why the job's trial fails."""
        if failure.kind == "memory":
            return f"missing: {failure.reason}"
        tries = self._failed[job.identity]
        return failure.reason + (f" (tried {tries} times)" if tries > 1 else "")


class Streak:
    """Trials that failed one after the other."""

    def __init__(self) -> None:
        self._kinds: list[str] = []

    def broken(self) -> None:
        """Something was measured."""
        self._kinds.clear()

    def failed(self, reason: str) -> str | None:
        """Take note of a failed trial; why the search should give up, if it should."""
        kind = reason.partition(", in ")[0]  # not where it came from
        self._kinds.append(re.sub(r"\d+(\.\d+)?", "#", kind))  # sizes and epochs differ
        count, kinds = len(self._kinds), set(self._kinds)
        if count >= _SAME and len(kinds) == 1:
            return f"the first {count} trials all failed: {reason}"
        if count >= _ANY:
            return f"the first {count} trials all failed, the last of them with: {reason}"
        return None


def flaw(measurement: Measurement, *, job: Job) -> str | None:
    """What makes a measurement unfit for a study, if anything."""
    for name in ("top1", "loss", "seconds"):
        if not math.isfinite(getattr(measurement, name)):
            return f"{name} is {getattr(measurement, name)}: the training diverged"
    if not 0 <= measurement.top1 <= 1:
        return f"top1 is {measurement.top1}, outside 0..1"
    if measurement.seed != job.seed:
        return f"seed is {measurement.seed}, asked for {job.seed}"
    return None
