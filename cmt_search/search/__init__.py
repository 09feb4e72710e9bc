"""Searches: the study, its ledger and those who run its jobs. Importing this imports no optuna."""

from cmt_search.search.calibration import CalibrationSpace, Level, Specimen, specimens
from cmt_search.search.driver import run_search
from cmt_search.search.run_dir import Driver, RunDir, RunInfo
from cmt_search.search.sampling.design import DesignPoint, design
from cmt_search.search.sampling.generator import foreseen
from cmt_search.search.sampling.sobol import population
from cmt_search.search.storage import RunRecord, read_run, read_trials
from cmt_search.search.types import (
    Event,
    Job,
    JobFinished,
    JobStarted,
    Listener,
    Outcome,
    Plan,
    RungRecord,
    RungRepeated,
    Sampler,
    Space,
    State,
    Stopping,
    TrialFinished,
    TrialRecord,
)

__all__ = [
    "CalibrationSpace",
    "DesignPoint",
    "Driver",
    "Event",
    "Job",
    "JobFinished",
    "JobStarted",
    "Level",
    "Listener",
    "Outcome",
    "Plan",
    "RunDir",
    "RunInfo",
    "RunRecord",
    "RungRecord",
    "RungRepeated",
    "Sampler",
    "Space",
    "Specimen",
    "State",
    "Stopping",
    "TrialFinished",
    "TrialRecord",
    "design",
    "foreseen",
    "population",
    "read_run",
    "read_trials",
    "run_search",
    "specimens",
]
