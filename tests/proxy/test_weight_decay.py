"""Position tables are decayed only where the recipe asks for it, as the official one does."""

from dataclasses import replace

import pytest

from cmt_search.arch import Arch
from cmt_search.evaluation import Fidelity
from cmt_search.proxy import Dataset, Recipe
from cmt_search.proxy.trainer import Training


def _decays(arch: Arch, data: Dataset, recipe: Recipe) -> dict[str, float]:
    """The weight decay of every parameter by name."""
    run = Training.start(arch, data=data, recipe=recipe, fidelity=Fidelity(epochs=1), seed=0)
    by_id = {
        id(p): group["weight_decay"]
        for group in run.optimizer.param_groups
        for p in group["params"]
    }
    return {name: by_id[id(p)] for name, p in run.model.named_parameters()}


@pytest.mark.parametrize("position", ["stage", "block", "none"])
def test_decay_position_moves_the_tables_and_nothing_else(
    tiny: Arch, embedded: Dataset, position: str
) -> None:
    deeper = tuple(replace(stage, depth=2) for stage in tiny.stages)
    arch = replace(tiny, position=position, stages=deeper)
    plain = _decays(arch, embedded, Recipe(weight_decay=0.3))
    asked = _decays(arch, embedded, Recipe(weight_decay=0.3, decay_position=True))
    tables = {name for name in plain if name.endswith("position")}
    count = {"stage": len(arch.stages), "block": arch.depth, "none": 0}[position]
    assert len(tables) == count
    assert {plain[name] for name in tables} <= {0.0}
    assert {asked[name] for name in tables} <= {0.3}
    assert {k: v for k, v in plain.items() if k not in tables} == {
        k: v for k, v in asked.items() if k not in tables
    }
