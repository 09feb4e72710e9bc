"""Laws of scaling on plain arrays: noise, response, equivalence, power laws; the bootstrap."""

from cmt_search.laws.accuracy import AccuracyLaw, Prediction, accuracy_law
from cmt_search.laws.additive import AdditiveLaw
from cmt_search.laws.anchors import (
    BestRate,
    LengthEffect,
    RateLaw,
    best_rate,
    length_effect,
    rate_law,
)
from cmt_search.laws.assessment import Assessment, assess
from cmt_search.laws.balance import Balance, Expansion, Repair, balance, expansion, repair
from cmt_search.laws.bootstrap import Bootstrap, Trainings, bootstrap, resample, unpacked
from cmt_search.laws.choice import Choice, cheapest
from cmt_search.laws.contrast import (
    DETECTABLE_STANDARD_ERRORS,
    Contrast,
    contrast,
    selected_contrasts,
    typical_error,
)
from cmt_search.laws.contributions import contributions
from cmt_search.laws.coverage import NOMINAL, Coverage, empirical_coverage
from cmt_search.laws.equivalence import (
    CLEAR,
    EPS,
    Word,
    equivalence_set,
    flatness,
    needed_eps,
    simplex_grid,
    verdict_word,
    within_eps,
)
from cmt_search.laws.estimate import Estimate
from cmt_search.laws.extrapolation import (
    ChosenRule,
    ExtrapolatedRule,
    Extrapolation,
    extrapolation,
)
from cmt_search.laws.fidelity import (
    Agreement,
    Pairing,
    Ranked,
    Separation,
    agreement,
    pairing,
    regret,
    separation,
)
from cmt_search.laws.noise import Noise, pooled_noise, relative_noise
from cmt_search.laws.planning import SEEDS, Power, planned_power, seeds_for
from cmt_search.laws.power import Optimum, PowerLaws, RuleEstimate, power_laws
from cmt_search.laws.process import Process, fit_process
from cmt_search.laws.response import NEEDED, Response
from cmt_search.laws.surface import Surface, fit_surface

__all__ = [
    "CLEAR",
    "DETECTABLE_STANDARD_ERRORS",
    "EPS",
    "NEEDED",
    "NOMINAL",
    "SEEDS",
    "AccuracyLaw",
    "AdditiveLaw",
    "Agreement",
    "Assessment",
    "Balance",
    "BestRate",
    "Bootstrap",
    "Choice",
    "ChosenRule",
    "Contrast",
    "Coverage",
    "Estimate",
    "Expansion",
    "ExtrapolatedRule",
    "Extrapolation",
    "LengthEffect",
    "Noise",
    "Optimum",
    "Pairing",
    "Power",
    "PowerLaws",
    "Prediction",
    "Process",
    "Ranked",
    "RateLaw",
    "Repair",
    "Response",
    "RuleEstimate",
    "Separation",
    "Surface",
    "Trainings",
    "Word",
    "accuracy_law",
    "agreement",
    "assess",
    "balance",
    "best_rate",
    "bootstrap",
    "cheapest",
    "contrast",
    "contributions",
    "empirical_coverage",
    "equivalence_set",
    "expansion",
    "extrapolation",
    "fit_process",
    "fit_surface",
    "flatness",
    "length_effect",
    "needed_eps",
    "pairing",
    "planned_power",
    "pooled_noise",
    "power_laws",
    "rate_law",
    "regret",
    "relative_noise",
    "repair",
    "resample",
    "seeds_for",
    "selected_contrasts",
    "separation",
    "simplex_grid",
    "typical_error",
    "unpacked",
    "verdict_word",
    "within_eps",
]
