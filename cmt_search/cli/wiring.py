"""The evaluator of a space."""

from functools import partial
from typing import TYPE_CHECKING

from cmt_search.dataset_spec import DatasetSpec
from cmt_search.recipe import Recipe
from cmt_search.space import SearchSpace

if TYPE_CHECKING:
    from cmt_search.evaluation import EvaluatorFactory
    from cmt_search.proxy import ProxyEvaluator


def factory_of(space: SearchSpace, *, device: str | None) -> "EvaluatorFactory":
    """What makes a worker's evaluator; the driver itself needs no torch."""
    return partial(make_evaluator, space.proxy.dataset, recipe=space.proxy.recipe, device=device)


def make_evaluator(dataset: DatasetSpec, *, recipe: Recipe, device: str | None) -> "ProxyEvaluator":
    """The evaluator of the process that calls."""
    from cmt_search.proxy import ProxyEvaluator

    return ProxyEvaluator(dataset, recipe=recipe, device=device)
