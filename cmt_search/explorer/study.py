"""A run as the explorer knows it: how to read it, and what else may be asked of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cmt_search.analysis import Analysis
from cmt_search.explorer.live import Stamp
from cmt_search.scaling import Member, Shares
from cmt_search.search import TrialRecord
from cmt_search.space import Parameter


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """One run. What is None cannot be done with it, and its controls are not shown."""

    name: str
    load: Callable[[], Analysis]  # reads and analyses it
    stamp: Stamp | None = None  # changes whenever the study does
    parameters: tuple[Parameter, ...] = ()  # that its sampler chooses
    solve: Callable[[Shares, float], Member] | None = None  # the network of a rule at MACs
    macs: tuple[float, float] | None = None  # that rules can be solved at: least and most
    export: Callable[[TrialRecord], Path] | None = None  # writes a trial's network
    commands: Callable[[TrialRecord], tuple[str, ...]] | None = None  # that train it again


Studies = Mapping[str, Study]
