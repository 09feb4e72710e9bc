"""Run searches: study, scheduler, samplers, executors. Importing this does not import optuna."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cmt_search.search.calibration import (
    CalibrationNetwork,
    CalibrationSpace,
    FidelityLevel,
    sample_networks,
)
from cmt_search.search.driver import run_search
from cmt_search.search.run_dir import Driver, RunDir
from cmt_search.search.sampling.design import DesignPoint, design_points
from cmt_search.search.sampling.sobol import initial_points
from cmt_search.search.types import (
    Event,
    JobFinished,
    JobStarted,
    Listener,
    Outcome,
    RungRecord,
    Space,
    Stopping,
    TrialFinished,
    TrialRecord,
)

if TYPE_CHECKING:
    from cmt_search.search.sampling.generator import preview_candidates
    from cmt_search.search.study_reader import RunRecord, read_run, read_trials

__all__ = [
    "CalibrationNetwork",
    "CalibrationSpace",
    "DesignPoint",
    "Driver",
    "Event",
    "FidelityLevel",
    "JobFinished",
    "JobStarted",
    "Listener",
    "Outcome",
    "RunDir",
    "RunRecord",
    "RungRecord",
    "Space",
    "Stopping",
    "TrialFinished",
    "TrialRecord",
    "design_points",
    "initial_points",
    "preview_candidates",
    "read_run",
    "read_trials",
    "run_search",
    "sample_networks",
]

# Imported on first use, because these modules import optuna and scipy.
_LAZY = {
    "RunRecord": "study_reader",
    "preview_candidates": "sampling.generator",
    "read_run": "study_reader",
    "read_trials": "study_reader",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
