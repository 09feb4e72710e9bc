"""Spaces made from another: the confirmation of a rule search."""

from collections.abc import Mapping

from cmt_search.errors import SpaceError
from cmt_search.scaling import CATALOGUE, Shares
from cmt_search.space.load import validated
from cmt_search.space.model import SearchSpace


def confirmation_space(
    space: SearchSpace, *, rules: Mapping[str, Shares], macs: float, seeds: int, times: int
) -> SearchSpace:
    """The space that retrains `rules` at one held-out budget, on a sealed split, `times` as long.

    Raises:
        SpaceError: it is no rule search, or the budget is one that the search has seen.
    """
    if space.kind != "rule":
        raise SpaceError(f"only a rule search can be confirmed; this one is a {space.kind} search")
    if any(abs(macs / seen - 1) < 0.05 for seen in space.budget_macs):
        raise SpaceError(
            f"budget {macs:,.0f} MACs was part of the search, so it is not held out; "
            "choose one that differs by more than 5%"
        )
    points = [
        {"name": name, "depth": s.depth, "width": s.width, "resolution": s.resolution}
        for name, s in rules.items()
        if name not in CATALOGUE
    ]
    data = space.model_dump(mode="json", exclude_none=True)
    data["budgets"] = [macs]
    data["seeds"] = seeds
    data["seed"] = space.seed + 500_000  # far from every seed that the search used
    data["proxy"]["epochs"] = space.lengths[-1] * times
    for limit in ("steps", "seconds"):
        if limit in data["proxy"]:
            data["proxy"][limit] *= times
    data["proxy"]["dataset"]["split"] = "sealed"
    data["sampler"] = {
        "name": "design",
        "lattice": 0,
        "replicates": 1,
        "rules": [name for name in rules if name in CATALOGUE],
        "points": points,
    }
    for key in ("trials", "ladder", "caps"):  # caps are for members; a larger budget breaks them
        data.pop(key, None)
    return validated(data, source="confirmation")
