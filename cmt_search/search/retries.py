"""Retry policy, abort criterion and validation of measurements."""

import math
import re
from collections import Counter

from cmt_search.evaluation import Measurement
from cmt_search.search.types import Failure, Job, MeasurementKey

_MIN_RETRIES = {"died": 2, "memory": 1}  # often caused by the machine, not by the network
_MAX_EQUAL_FAILURES = 5  # trials in a row, without any measurement, before the search aborts
_MAX_FAILURES = 10  # likewise, with different reasons


class RetryPolicy:
    """Decides whether a failed job is run again in this session."""

    def __init__(self, retries: int) -> None:
        self._retries = retries
        self._n_failed: Counter[MeasurementKey] = Counter()

    def should_retry(self, job: Job, failure: Failure) -> bool:
        """Count a failure; return whether the job is run again."""
        self._n_failed[job.key] += 1
        if failure.kind == "verdict":  # deterministic
            return False
        allowed = _MIN_RETRIES.get(failure.kind, 0)
        if failure.kind != "memory":
            allowed = max(self._retries, allowed)
        return self._n_failed[job.key] <= allowed

    def reason(self, job: Job, failure: Failure) -> str:
        """Return the reason for which the trial of the job fails."""
        n_tries = self._n_failed[job.key]
        return failure.reason + (f" (tried {n_tries} times)" if n_tries > 1 else "")


class FailureCounter:
    """Counts consecutive failed trials."""

    def __init__(self) -> None:
        self._reasons: list[str] = []

    def reset(self) -> None:
        """Start again: something was measured."""
        self._reasons.clear()

    def add(self, reason: str) -> str | None:
        """Count a failed trial; return why the search should abort, if it should."""
        without_location = reason.partition(", in ")[0]
        self._reasons.append(re.sub(r"\d+(\.\d+)?", "#", without_location))
        count = len(self._reasons)
        if count >= _MAX_EQUAL_FAILURES and len(set(self._reasons)) == 1:
            return f"the first {count} trials all failed: {reason}"
        if count >= _MAX_FAILURES:
            return f"the first {count} trials all failed, the last of them with: {reason}"
        return None


def validate_measurement(measurement: Measurement, *, job: Job) -> str | None:
    """Return what makes a measurement invalid, if anything."""
    for name in ("top1", "loss", "seconds"):
        if not math.isfinite(getattr(measurement, name)):
            return f"{name} is {getattr(measurement, name)}: the training diverged"
    if not 0 <= measurement.top1 <= 1:
        return f"top1 is {measurement.top1}, outside 0..1"
    if measurement.seed != job.seed:
        return f"seed is {measurement.seed}, requested was {job.seed}"
    return None
