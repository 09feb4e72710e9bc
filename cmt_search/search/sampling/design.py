"""Experimental designs: the points that are measured whatever the results, and their order."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain

from pydantic import TypeAdapter

from cmt_search.errors import BudgetError
from cmt_search.scaling.shares import DIMENSIONS, Shares
from cmt_search.search.types import Space

PAPER = "cmt-paper"
CENTROID = "centroid"
CENTROID_SHARES = Shares(depth=1 / 3, width=1 / 3, resolution=1 / 3)
_SAME = 1e-6  # shares nearer than this are one point
_NEAR = 0.05  # a moved point as near as this to a named rule would measure that rule again
_STEPS = 8  # from an infeasible point to the centroid

NamedShares = dict[str, Shares]


@dataclass(frozen=True, slots=True, kw_only=True)
class DesignPoint:
    """One trial of a design."""

    name: str
    params: Mapping[str, float | int]
    shares: Shares | None = None  # of a rule search
    replicate: int = 0  # shifts the training seeds; 0 is the first measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """The trials of a design in their order."""

    points: tuple[DesignPoint, ...] = ()
    infeasible: tuple[Shares, ...] = ()  # lattice points that were moved or dropped


DESIGN_JSON = TypeAdapter(Design)


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
    rules = dict(space.named_shares())
    paper = {PAPER: rules.pop(PAPER)}
    lattice = _lattice(space.sampler.lattice)
    corners = [name for name, shares in lattice.items() if max(shares.values) > 1 - _SAME]
    infeasible: tuple[Shares, ...] = ()
    if lattice and space.sampler.augmented:
        lattice, infeasible = _shrink_to_feasible(space, lattice | _axial_points(), rules=rules)
    centroid = {CENTROID: CENTROID_SHARES} if lattice else {}
    first = {**centroid, **paper, **{name: lattice[name] for name in corners if name in lattice}}
    taken: NamedShares = {}
    first, named, rest = (
        _take_new(points, taken=taken, aliases=paper | rules) for points in (first, rules, lattice)
    )
    rest = _farthest_first(rest, after=[*first.values(), *named.values()])
    first_points, other_points = (
        [
            DesignPoint(name=name, shares=shares, params=params_of(space, shares))
            for name, shares in points.items()
        ]
        for points in (first, named | rest)
    )
    replicates = [
        [replace(point, replicate=number) for point in first_points if _is_replicated(point)]
        for number in range(1, space.sampler.replicates)
    ]
    points = (*first_points, *chain(*replicates[:1]), *other_points, *chain(*replicates[1:]))
    return Design(points=points, infeasible=infeasible)


def _lattice(order: int) -> NamedShares:
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


def _axial_points() -> NamedShares:
    """Return the midpoints between centroid and corners, which a coarse lattice lacks."""
    return {
        f"blend {name}": Shares.from_values(2 / 3 if n == name else 1 / 6 for n in DIMENSIONS)
        for name in DIMENSIONS
    }


def _shrink_to_feasible(
    space: Space, lattice: NamedShares, *, rules: NamedShares
) -> tuple[NamedShares, tuple[Shares, ...]]:
    """Move infeasible points towards the centroid; return the points, and the infeasible ones.

    An infeasible named rule is not moved: it is in the design, with its reason.
    """
    feasible, infeasible = NamedShares(), []
    for name, shares in lattice.items():
        if _is_feasible(space, shares):
            feasible[name] = shares
            continue
        infeasible.append(shares)
        steps = (_towards_centroid(shares, part=k / _STEPS) for k in range(1, _STEPS))
        inside = next((s for s in steps if _is_feasible(space, s)), None)
        if inside is not None and all(_distance(inside, s) > _NEAR for s in rules.values()):
            feasible[f"{name}, pulled in"] = inside
    return feasible, tuple(infeasible)


def _is_feasible(space: Space, shares: Shares) -> bool:
    try:
        space.analytic_only().candidate(params_of(space, shares))
    except BudgetError:
        return False
    return True


def _towards_centroid(shares: Shares, *, part: float) -> Shares:
    pairs = zip(shares.values, CENTROID_SHARES.values, strict=True)
    return Shares.from_values(round(s + part * (m - s), 9) for s, m in pairs)


def _take_new(points: NamedShares, *, taken: NamedShares, aliases: NamedShares) -> NamedShares:
    """Return the points that are not `taken`, and add them; a named rule's point takes its name."""
    new: NamedShares = {}
    for name, shares in points.items():
        if all(_distance(shares, other) >= _SAME for other in taken.values()):
            alias = next((n for n, s in aliases.items() if _distance(shares, s) < _SAME), name)
            taken[alias] = new[alias] = shares
    return new


def _farthest_first(points: NamedShares, *, after: list[Shares]) -> NamedShares:
    """Order points such that every prefix is space-filling, given those before."""
    left, chosen = dict(points), NamedShares()
    while left:
        # rounded, so that the order of symmetric points is independent of floating-point errors
        seen = [*after, *chosen.values()]
        gaps = {n: round(min(_distance(s, o) for o in seen), 9) for n, s in left.items()}
        farthest = max(left, key=lambda name: gaps[name])
        chosen[farthest] = left.pop(farthest)
    return chosen


def _is_replicated(point: DesignPoint) -> bool:
    """Return whether a point is the paper's rule or the centroid."""
    assert point.shares is not None, "of a rule search"
    return point.name == PAPER or _distance(point.shares, CENTROID_SHARES) < _SAME


def _distance(one: Shares, other: Shares) -> float:
    return math.dist(one.values, other.values)


def params_of(space: Space, shares: Shares) -> dict[str, float]:
    """Return the parameters of shares, clipped to their bounds."""
    bounds = {p.name: (p.low, p.high) for p in space.parameters()}
    return {
        key: min(max(value, bounds[key][0]), bounds[key][1])
        for key, value in space.params_of_shares(shares).items()
    }


def point_key(params: Mapping[str, float | int], *, replicate: int) -> tuple[object, ...]:
    """Return a key that is equal for equal points of a design."""
    return replicate, *sorted((name, round(value, 9)) for name, value in params.items())
