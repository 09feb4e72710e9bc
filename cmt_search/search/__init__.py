"""Searches: the study, its ledger and those who run its jobs. Importing this imports no optuna."""

from cmt_search.search.calibration import CalibrationSpace, Level, Specimen, specimens
from cmt_search.search.design import DesignPoint, design
from cmt_search.search.foresight import foreseen
from cmt_search.search.job import (
    Event,
    Job,
    JobFinished,
    JobStarted,
    Listener,
    Outcome,
    Plan,
    RungRepeated,
    Stopping,
    TrialFinished,
)
from cmt_search.search.population import population
from cmt_search.search.protocols import Sampler, Space
from cmt_search.search.reading import RunRecord, read_run, read_trials
from cmt_search.search.record import RungRecord, State, TrialRecord
from cmt_search.search.run import run_search
from cmt_search.search.run_folder import Driver, RunFolder, RunInfo

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
    "RunFolder",
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
