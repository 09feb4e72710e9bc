"""The evaluator of a space, and whether its networks can learn from its images."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cmt_search.dataset_spec import DatasetSpec
from cmt_search.errors import SpaceError
from cmt_search.recipe import Recipe
from cmt_search.space import SearchSpace

if TYPE_CHECKING:
    from cmt_search.evaluation import EvaluatorFactory
    from cmt_search.proxy import ProxyEvaluator


def check_trainable(space: SearchSpace, *, file: Path) -> None:
    """Refuse, before anything is made, a space whose networks cannot learn from its images.

    Raises:
        SpaceError: channels or classes differ, or the split is the test split.
    """
    dataset = space.proxy.dataset
    for name in ("in_chans", "num_classes"):
        given, wanted = getattr(space.arch, name), getattr(dataset, name)
        if wanted is not None and given != wanted:
            raise SpaceError(
                f"{file}: base.{name}: is {given}, but {dataset.name} has {wanted}; "
                f"set base.{name}: {wanted}"
            )
    if dataset.split != "validation":
        raise SpaceError(
            f"{file}: proxy.dataset.split: the test split is held out for `cmt-search confirm`; "
            "remove the key"
        )


def factory_of(space: SearchSpace, *, device: str | None) -> "EvaluatorFactory":
    """What makes a worker's evaluator; the driver itself needs no torch."""
    return partial(make_evaluator, space.proxy.dataset, recipe=space.proxy.recipe, device=device)


def make_evaluator(dataset: DatasetSpec, *, recipe: Recipe, device: str | None) -> "ProxyEvaluator":
    """The evaluator of the process that calls."""
    from cmt_search.proxy import ProxyEvaluator

    return ProxyEvaluator(dataset, recipe=recipe, device=device)
