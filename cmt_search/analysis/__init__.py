"""Analysis of a study: tables, front, verdict, figures, report."""

from cmt_search.analysis.calibration import Calibration, FidelityRow, ScoreRow, analyse_calibration
from cmt_search.analysis.confirmation import ConfirmedRule, compare_confirmed
from cmt_search.analysis.equivalence import (
    equivalence_set_summary,
    equivalence_set_text,
    tied_rules,
)
from cmt_search.analysis.figure_curves import CurvesData, curves_data, draw_curves
from cmt_search.analysis.figure_family import (
    FamilyData,
    draw_family,
    draw_rules_map,
    family_data,
)
from cmt_search.analysis.figure_front import FrontData, FrontStyle, draw_front, front_data
from cmt_search.analysis.figure_importances import draw_importances, importances_data
from cmt_search.analysis.figure_parallel import ParallelData, draw_parallel, parallel_data
from cmt_search.analysis.figure_progress import (
    ProgressData,
    draw_failures,
    draw_progress,
    failures_data,
    progress_data,
)
from cmt_search.analysis.figure_rules import RulesData, draw_rules, rules_data
from cmt_search.analysis.figure_timeline import TimelineData, draw_timeline, timeline_data
from cmt_search.analysis.figure_triangle import TriangleData, draw_triangle, triangle_data
from cmt_search.analysis.frame import (
    COLUMNS,
    networks,
    selection_csv,
    trainings,
    trainings_frame,
    trials_frame,
)
from cmt_search.analysis.front import Front, pareto_front
from cmt_search.analysis.front_table import front_rows
from cmt_search.analysis.images import write_images
from cmt_search.analysis.law_values import (
    BaseLaw,
    FamilyLaw,
    FitFailure,
    ProposedBase,
    StudyLaws,
)
from cmt_search.analysis.next_step import NextStep, recommend_next_step, target_rows
from cmt_search.analysis.page import write_figures
from cmt_search.analysis.report import figures, render_report, write_report
from cmt_search.analysis.scaling_laws import BaseContext, study_laws
from cmt_search.analysis.study import (
    Analysis,
    analyse,
    law_sentences,
    laws_of,
    state_counts,
    summary,
)
from cmt_search.analysis.study_text import study_headline, study_progress
from cmt_search.analysis.text import explanation, headline
from cmt_search.analysis.verdict import RuleComparison, RuleVerdict, Triangle

__all__ = [
    "COLUMNS",
    "Analysis",
    "BaseContext",
    "BaseLaw",
    "Calibration",
    "ConfirmedRule",
    "CurvesData",
    "FamilyData",
    "FamilyLaw",
    "FidelityRow",
    "FitFailure",
    "Front",
    "FrontData",
    "FrontStyle",
    "NextStep",
    "ParallelData",
    "ProgressData",
    "ProposedBase",
    "RuleComparison",
    "RuleVerdict",
    "RulesData",
    "ScoreRow",
    "StudyLaws",
    "TimelineData",
    "Triangle",
    "TriangleData",
    "analyse",
    "analyse_calibration",
    "compare_confirmed",
    "curves_data",
    "draw_curves",
    "draw_failures",
    "draw_family",
    "draw_front",
    "draw_importances",
    "draw_parallel",
    "draw_progress",
    "draw_rules",
    "draw_rules_map",
    "draw_timeline",
    "draw_triangle",
    "equivalence_set_summary",
    "equivalence_set_text",
    "explanation",
    "failures_data",
    "family_data",
    "figures",
    "front_data",
    "front_rows",
    "headline",
    "importances_data",
    "law_sentences",
    "laws_of",
    "networks",
    "parallel_data",
    "pareto_front",
    "progress_data",
    "recommend_next_step",
    "render_report",
    "rules_data",
    "selection_csv",
    "state_counts",
    "study_headline",
    "study_laws",
    "study_progress",
    "summary",
    "target_rows",
    "tied_rules",
    "timeline_data",
    "trainings",
    "trainings_frame",
    "trials_frame",
    "triangle_data",
    "write_figures",
    "write_images",
    "write_report",
]
