"""A study analysed once; figures, report, command line and explorer all read this."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmt_search.analysis.chance import ChanceComparison, compare_with_chance
from cmt_search.analysis.frame import trainings_frame, trial_state
from cmt_search.analysis.front import MAXIMISED, Front, pareto_front
from cmt_search.analysis.law_values import StudyLaws, to_jsonable
from cmt_search.analysis.scaling_laws import BaseContext, shape_laws, study_laws
from cmt_search.analysis.text import explanation, headline
from cmt_search.analysis.text_laws import laws_text
from cmt_search.analysis.verdict import (
    RuleComparison,
    RuleVerdict,
    Triangle,
    compare_named_rules,
    compute_verdict,
    feasible_rules,
    rule_surface,
    seed_noise,
)
from cmt_search.errors import AnalysisError, BudgetError
from cmt_search.scaling.shares import Shares
from cmt_search.search.types import TrialRecord
from cmt_search.stats import GaussianProcess, Noise

NO_RULES = "This search compares networks, not scaling rules."
SHAPES = (
    "This search compares shapes within each budget; the rule that the best of them lie on, if "
    "any, is among the laws of scaling."
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Analysis:
    """All that is said of a study."""

    records: tuple[TrialRecord, ...]
    frame: pd.DataFrame  # see `COLUMNS`
    front: Front
    noise: Noise | None  # of top1 between seeds; None: nothing was repeated
    paper: Shares | None
    named: Mapping[str, Shares]
    surface: GaussianProcess | None
    verdict: RuleVerdict | None
    triangle: Triangle | None
    rules: tuple[RuleComparison, ...]
    no_verdict: str  # the reason for a missing verdict; else empty
    laws: StudyLaws | None = None  # None: not asked for, or no rule search

    @property
    def chance(self) -> ChanceComparison | None:
        """The best network against guessing; None before one is trained in full."""
        return compare_with_chance(self.records, networks=self.front.networks)


def analyse(
    records: Iterable[TrialRecord],
    *,
    base_macs: float | None = None,
    paper: Shares | None = None,
    named: Mapping[str, Shares] | None = None,
    native_resolution: int | None = None,
    sides: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None,
    metrics: tuple[str, ...] = ("macs", "top1"),
    seed: int = 0,
    n_simulations: int = 0,
    base: BaseContext | None = None,
    shapes: bool = False,
) -> Analysis:
    """Analyse a study; of a rule search `base_macs`, `paper` and `named` are needed for a verdict.

    `sides` gives the pixels that rules (n, 3) ask for at the largest budget, (n,); rules above
    `native_resolution` are excluded from "best". `n_simulations` studies per
    truth calibrate the margin of the equivalence set. With `base` the scaling laws are fitted too;
    with `shapes`, those of a shape search, if `base_macs` are given.
    """
    records = tuple(records)
    frame = trainings_frame(records)
    rules = named or {}
    surface, verdict, triangle = None, None, None
    against: tuple[RuleComparison, ...] = ()
    reason = "" if base_macs and paper and rules else SHAPES if shapes else NO_RULES
    if base_macs and paper and rules:
        try:
            surface = rule_surface(frame, base_macs=base_macs, seed=seed)
            against = compare_named_rules(surface, frame=frame, paper=paper, named=rules)
            feasible = feasible_rules(native_resolution=native_resolution, sides=sides)
            verdict, triangle = compute_verdict(
                surface,
                frame=frame,
                paper=paper,
                named=rules,
                feasible=feasible,
                n_simulations=n_simulations,
                seed=seed,
            )
        except (AnalysisError, BudgetError) as error:
            reason = f"No verdict: {error}"
    found = Analysis(
        records=records,
        frame=frame,
        front=pareto_front(frame, metrics=metrics),
        noise=seed_noise(frame),
        paper=paper,
        named=rules,
        surface=surface,
        verdict=verdict,
        triangle=triangle,
        rules=against,
        no_verdict=reason,
    )
    if base_macs and shapes:
        laws = shape_laws(records, frame=frame, base_macs=base_macs, seed=seed)
        return replace(found, laws=laws)
    if not (base_macs and base):
        return found
    return replace(found, laws=_laws(found, base_macs=base_macs, base=base, seed=seed))


def _laws(
    analysis: Analysis, *, base_macs: float, base: BaseContext, seed: int
) -> StudyLaws | None:
    if analysis.paper is None:
        return None
    return study_laws(
        analysis.records,
        frame=analysis.frame,
        base_macs=base_macs,
        paper=analysis.paper,
        named=analysis.named,
        verdict=analysis.verdict,
        surface=analysis.surface,
        base=base,
        seed=seed,
    )


def summary(analysis: Analysis) -> dict[str, Any]:
    """The analysis as plain values for JSON; top1 and differences of it are in 0..1."""
    front, verdict = analysis.front, analysis.verdict
    measured = [name for name in MAXIMISED if front.members[name].notna().any()]
    columns = ["trial", "name", "key", *measured, "measurements"]
    return {
        "trials": state_counts(analysis),
        "networks": len(front.networks),
        "noise": asdict(analysis.noise) if analysis.noise else None,
        "chance": _chance(analysis.chance),
        "front": [
            {str(name): _plain(value) for name, value in row.items()}
            for row in front.members[columns].to_dict("records")
        ],
        "hypervolume": {
            "value": front.hypervolume,
            "normalized": front.normalized_hypervolume,
            "metrics": list(front.metrics),
            "reference": list(front.reference),
        },
        "verdict": _verdict(verdict) if verdict else None,
        "no_verdict": analysis.no_verdict or None,
        "rules": [asdict(rule) for rule in analysis.rules],
        "laws": laws_of(analysis) or None,
    }


def laws_of(analysis: Analysis) -> dict[str, Any]:
    """The laws as plain values for JSON and YAML, with their sentences; empty without laws."""
    if analysis.laws is None:
        return {}
    return {**to_jsonable(analysis.laws), "says": list(law_sentences(analysis))}


def law_sentences(analysis: Analysis) -> tuple[str, ...]:
    """Describe the laws, in a sentence or two each; empty without laws."""
    return laws_text(analysis.laws) if analysis.laws is not None else ()


def state_counts(analysis: Analysis) -> dict[str, int]:
    """Count trials by state, see `trial_state`."""
    states = [trial_state(record) for record in analysis.records]
    return {state: states.count(state) for state in dict.fromkeys(states)}


def _chance(chance: ChanceComparison | None) -> dict[str, Any] | None:
    return {**asdict(chance), "is_near": chance.is_near} if chance else None


def _verdict(verdict: RuleVerdict) -> dict[str, Any]:
    return {
        **asdict(verdict),
        "beats_paper": verdict.beats_paper,
        "base_unbalanced": verdict.base_unbalanced,
        "corner": verdict.corner,
        "headline": headline(verdict),
        "explanation": list(explanation(verdict)),
    }


def _plain(value: object) -> object:
    if pd.isna(value):  # type: ignore[call-overload]
        return None
    return value.item() if hasattr(value, "item") else value
