"""Statistics on plain arrays: noise, response, equivalence, scaling laws, bootstrap."""

from cmt_search.stats.bootstrap import Trainings, bootstrap_fit, unpack_bits
from cmt_search.stats.equivalence import (
    ALPHA,
    CREDIBLE,
    DETECTABLE_STANDARD_ERRORS,
    SMALLEST_EFFECT,
    Conclusion,
    Contrast,
    assess,
    equivalence_set,
    rms_standard_error,
    simplex_grid,
    simultaneous_contrasts,
    summarize_contrast,
)
from cmt_search.stats.extrapolation import MIN_SPAN, Extrapolation, check_extrapolation
from cmt_search.stats.gp import GaussianProcess, fit_gaussian_process
from cmt_search.stats.gradient import BaseCorrection, GradientTest, correct_base
from cmt_search.stats.noise import Estimate, Noise, pooled_noise
from cmt_search.stats.power_law import PowerLaws, RuleEstimate, fit_power_laws
from cmt_search.stats.rank import (
    RankAgreement,
    RankCorrelation,
    VarianceComponents,
    compare_rankings,
    estimate_variance_components,
    selection_regret,
)
from cmt_search.stats.scaling_law import (
    AccuracyLaw,
    LrScaling,
    Prediction,
    find_best_lr,
    fit_accuracy_law,
    fit_lr_scaling,
)
from cmt_search.stats.simulation import (
    SEEDS,
    Coverage,
    predict_standard_error,
    simulate_coverage,
    sufficient_seeds,
)

__all__ = [
    "ALPHA",
    "CREDIBLE",
    "DETECTABLE_STANDARD_ERRORS",
    "MIN_SPAN",
    "SEEDS",
    "SMALLEST_EFFECT",
    "AccuracyLaw",
    "BaseCorrection",
    "Conclusion",
    "Contrast",
    "Coverage",
    "Estimate",
    "Extrapolation",
    "GaussianProcess",
    "GradientTest",
    "LrScaling",
    "Noise",
    "PowerLaws",
    "Prediction",
    "RankAgreement",
    "RankCorrelation",
    "RuleEstimate",
    "Trainings",
    "VarianceComponents",
    "assess",
    "bootstrap_fit",
    "check_extrapolation",
    "compare_rankings",
    "correct_base",
    "equivalence_set",
    "estimate_variance_components",
    "find_best_lr",
    "fit_accuracy_law",
    "fit_gaussian_process",
    "fit_lr_scaling",
    "fit_power_laws",
    "pooled_noise",
    "predict_standard_error",
    "rms_standard_error",
    "selection_regret",
    "simplex_grid",
    "simulate_coverage",
    "simultaneous_contrasts",
    "sufficient_seeds",
    "summarize_contrast",
    "unpack_bits",
]
