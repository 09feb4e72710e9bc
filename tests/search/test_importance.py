from dataclasses import replace

import pytest

from cmt_search.errors import AnalysisError
from cmt_search.search import TrialRecord
from cmt_search.search.importance import EVALUATORS, Evaluator, importances
from cmt_search.space import Parameter

PARAMETERS = (Parameter(name="deep", low=0, high=1), Parameter(name="idle", low=0, high=1))


def trials(count: int) -> list[TrialRecord]:
    empty = TrialRecord(number=0, state="complete", name="", params={}, shares=None, rungs=())
    return [
        replace(empty, number=i, params={"deep": i / count, "idle": (7 * i % count) / count})
        for i in range(count)
    ]


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_the_parameter_that_decides_weighs_most(evaluator: Evaluator) -> None:
    records = trials(60)
    values = {r.number: float(r.params["deep"]) ** 2 for r in records}
    parts = importances(records, parameters=PARAMETERS, values=values, evaluator=evaluator)
    assert next(iter(parts)) == "deep"
    assert sum(parts.values()) == pytest.approx(1)


def test_few_trials_say_nothing() -> None:
    with pytest.raises(AnalysisError, match="importances need 8 measured trials that differ"):
        importances(trials(60), parameters=PARAMETERS, values={0: 0.5})
