"""Experimental designs: the points that are measured whatever the results, and their order."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Self

from cmt_search.errors import BudgetError
from cmt_search.scaling.shares import DIMENSIONS, Shares
from cmt_search.search.types import Space

PAPER = "cmt-paper"
CENTROID = "centroid"
CENTROID_SHARES = Shares(depth=1 / 3, width=1 / 3, resolution=1 / 3)
_SAME = 1e-6  # shares nearer than this are one point
_NEAR = 0.05  # a moved point as near as this to a named rule would measure that rule again
_STEPS = 8  # from an infeasible point to the centroid


@dataclass(frozen=True, slots=True, kw_only=True)
class DesignPoint:
    """One trial of a design."""

    name: str
    params: dict[str, float | int]
    shares: Shares | None = None  # of a rule search
    replicate: int = 0  # shifts the training seeds; 0 is the first measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """The trials of a design in their order."""

    points: tuple[DesignPoint, ...] = ()
    infeasible: tuple[Shares, ...] = ()  # lattice points that were moved or dropped

    def to_json(self) -> str:
        """Return it as JSON: a resumed search need not solve it again."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` returned."""
        data = json.loads(text)
        points = tuple(
            DesignPoint(**{**point, "shares": point["shares"] and Shares(**point["shares"])})
            for point in data["points"]
        )
        return cls(points=points, infeasible=tuple(Shares(**s) for s in data["infeasible"]))


def design_points(space: Space) -> tuple[DesignPoint, ...]:
    """Return the points of `make_design`."""
    return make_design(space).points


def make_design(space: Space) -> Design:
    """Return the design of a rule search, or of a list; Pareto and shape searches have none.

    A list is measured completely. In a rule search every prefix is useful: centroid, the paper's
    rule and the corners; replicates of the first two (the noise); the other named rules; the rest
    of the lattice, always the point farthest from all before it; the remaining replicates. Without
    a lattice the named rules are the design. An augmented lattice includes the midpoints between
    centroid and corners, and its infeasible points are moved towards the centroid.
    """
    if space.kind == "list":
        (index,) = space.parameters()
        numbers = range(int(index.low), int(index.high) + 1)
        listed = (DesignPoint(name=f"{index.name} {i}", params={index.name: i}) for i in numbers)
        return Design(points=tuple(listed))
    if space.kind != "rule":
        return Design()
    named_rules = dict(space.named_shares())
    lattice = _lattice(space.sampler.lattice)
    infeasible: tuple[Shares, ...] = ()
    corners = [name for name, s in lattice.items() if max(s.values) > 1 - _SAME]
    if lattice and space.sampler.augmented:
        lattice, infeasible = _shrink_to_feasible(
            lattice | _axial_points(), space=space, named_rules=named_rules
        )
    centroid = {CENTROID: CENTROID_SHARES} if lattice else {}
    paper = {PAPER: named_rules.pop(PAPER)}
    aliases = {**paper, **named_rules}
    feasible_corners = {name: lattice[name] for name in corners if name in lattice}
    first = _distinct({**centroid, **paper, **feasible_corners}, aliases=aliases)
    named = _distinct({**first, **named_rules}, aliases=aliases)
    every = _distinct({**named, **lattice}, aliases=aliases)
    rest = _farthest_first({n: s for n, s in every.items() if n not in named}, after=named)
    first_points = [_point(space, name, shares) for name, shares in first.items()]
    central = {name for name, s in first.items() if _distance(s, CENTROID_SHARES) < _SAME}
    replicated = [point for point in first_points if point.name in {PAPER, *central}]
    replicates = [
        [replace(point, replicate=number) for point in replicated]
        for number in range(1, space.sampler.replicates)
    ]
    other_points = [_point(space, n, s) for n, s in {**named, **rest}.items() if n not in first]
    points = (*first_points, *chain(*replicates[:1]), *other_points, *chain(*replicates[1:]))
    return Design(points=points, infeasible=infeasible)


def _axial_points() -> dict[str, Shares]:
    """Return the midpoints between centroid and corners, which a coarse lattice lacks."""
    return {
        f"blend {name}": Shares.from_values(2 / 3 if n == name else 1 / 6 for n in DIMENSIONS)
        for name in DIMENSIONS
    }


def _shrink_to_feasible(
    lattice: dict[str, Shares], *, space: Space, named_rules: Mapping[str, Shares]
) -> tuple[dict[str, Shares], tuple[Shares, ...]]:
    """Move infeasible points towards the centroid; return the points, and the infeasible ones.

    An infeasible named rule is not moved: it is in the design, with its reason.
    """
    counted, feasible, infeasible = space.analytic_only(), dict[str, Shares](), []
    for name, shares in lattice.items():
        if _feasible(counted, shares):
            feasible[name] = shares
            continue
        infeasible.append(shares)
        steps = (_towards_centroid(shares, part=k / _STEPS) for k in range(1, _STEPS))
        inside = next((s for s in steps if _feasible(counted, s)), None)
        if inside is not None:
            near = min((_distance(inside, s) for s in named_rules.values()), default=1.0)
            if near > _NEAR:
                feasible[f"{name}, pulled in"] = inside
    return feasible, tuple(infeasible)


def _feasible(space: Space, shares: Shares) -> bool:
    try:
        space.candidate(params_of(space, shares))
    except BudgetError:
        return False
    return True


def _towards_centroid(shares: Shares, *, part: float) -> Shares:
    pairs = zip(shares.values, CENTROID_SHARES.values, strict=True)
    return Shares.from_values(round(s + part * (m - s), 9) for s, m in pairs)


def _lattice(order: int) -> dict[str, Shares]:
    """Return the simplex lattice {3, order}: triples of multiples of 1/order that sum to one."""
    if order < 1:
        return {}
    triples = (
        (i, j, order - i - j) for i in range(order, -1, -1) for j in range(order - i, -1, -1)
    )
    return {
        f"lattice {i}-{j}-{k}": Shares(depth=i / order, width=j / order, resolution=k / order)
        for i, j, k in triples
    }


def _distinct(points: dict[str, Shares], *, aliases: dict[str, Shares]) -> dict[str, Shares]:
    """Drop repeated points; one that coincides with a named rule takes its name."""
    kept: dict[str, Shares] = {}
    for name, shares in points.items():
        if any(_distance(shares, other) < _SAME for other in kept.values()):
            continue
        alias = next((n for n, s in aliases.items() if _distance(shares, s) < _SAME), name)
        kept[alias] = shares
    return kept


def _farthest_first(points: dict[str, Shares], *, after: dict[str, Shares]) -> dict[str, Shares]:
    """Order points such that every prefix is space-filling, given those before."""
    left, chosen, seen = dict(points), {}, list(after.values())
    while left:
        # rounded, so that the order of symmetric points is independent of floating-point errors
        gaps = {n: round(min(_distance(s, o) for o in seen), 9) for n, s in left.items()}
        best = max(left, key=lambda name: gaps[name])
        chosen[best] = left.pop(best)
        seen.append(chosen[best])
    return chosen


def params_of(space: Space, shares: Shares) -> dict[str, float]:
    """Return the parameters of shares, clipped to their bounds."""
    bounds = {p.name: (p.low, p.high) for p in space.parameters()}
    return {
        key: min(max(value, bounds[key][0]), bounds[key][1])
        for key, value in space.params_of_shares(shares).items()
    }


def _point(space: Space, name: str, shares: Shares) -> DesignPoint:
    return DesignPoint(name=name, shares=shares, params=dict(params_of(space, shares)))


def _distance(one: Shares, other: Shares) -> float:
    return math.dist(one.values, other.values)


def point_key(
    params: Mapping[str, float | int], *, replicate: int
) -> tuple[int, tuple[tuple[str, float], ...]]:
    """Return a key that is equal for equal points of a design."""
    return replicate, tuple(sorted((name, round(value, 9)) for name, value in params.items()))
