"""Importance of each parameter of a search for a metric, by Optuna's evaluators."""

from collections.abc import Mapping, Sequence
from typing import Literal

from cmt_search.errors import AnalysisError
from cmt_search.search.types import TrialRecord
from cmt_search.space.candidates import Parameter

Evaluator = Literal["ped-anova", "fanova"]
EVALUATORS: Mapping[Evaluator, str] = {
    "ped-anova": "PED-ANOVA: what sets the best tenth apart",
    "fanova": "fANOVA: variance explained",
}
_MIN_TRIALS = 8


def importances(
    records: Sequence[TrialRecord],
    *,
    parameters: Sequence[Parameter],
    values: Mapping[int, float],
    maximise: bool = True,
    evaluator: Evaluator = "ped-anova",
) -> dict[str, float]:
    """Return importances that sum to one, largest first; `values`: the metric by trial number.

    Raises:
        AnalysisError: too few trials have a value, or all have the same.
    """
    import optuna
    from optuna.importance import (
        FanovaImportanceEvaluator,
        PedAnovaImportanceEvaluator,
        get_param_importances,
    )
    from optuna.trial import create_trial

    from cmt_search.search.sampling.generator import distributions

    ranges = distributions(parameters)
    usable = [r for r in records if r.number in values and r.params.keys() == ranges.keys()]
    if len(usable) < _MIN_TRIALS or len({values[r.number] for r in usable}) < 2:
        raise AnalysisError(
            f"importances need {_MIN_TRIALS} measured trials that differ, there are {len(usable)}; "
            "wait for more"
        )
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize" if maximise else "minimize")
    for record in usable:
        value, params = values[record.number], dict(record.params)
        study.add_trial(create_trial(params=params, distributions=ranges, value=value))
    if evaluator == "fanova":
        return get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
