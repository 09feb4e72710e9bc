"""The make_design experiment: which candidates are measured whatever comes out, in which order."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain, product

from cmt_search.errors import BudgetError
from cmt_search.scaling.shares import Shares
from cmt_search.search.types import Space

PAPER = "cmt-paper"
CENTROID = "centroid"
CENTROID_SHARES = Shares(depth=1 / 3, width=1 / 3, resolution=1 / 3)
_SAME = 1e-6  # shares nearer than this are one point
_NEAR = 0.05  # a point pulled in as near as this to a named rule would measure that rule again
_PULLS = 8  # steps from beyond to the centroid


@dataclass(frozen=True, slots=True, kw_only=True)
class DesignPoint:
    """One trial of a design."""

    name: str
    params: dict[str, float | int]
    shares: Shares | None = None  # rule searches
    replicate: int = 0  # shifts the training seeds; 0 is the first measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """The trials of a search's design, in the order in which they are asked for."""

    points: tuple[DesignPoint, ...] = ()
    beyond: tuple[Shares, ...] = ()  # lattice points that were pulled in, as no rule is there


def design_points(space: Space) -> tuple[DesignPoint, ...]:
    """The points of `make_design`."""
    return make_design(space).points


def make_design(space: Space) -> Design:
    """The design of a rule search, or of a list; a free or shape search has none.

    A list is measured whole. Of a rule search any prefix is useful: first the centroid, the paper's
    rule and the corners, then a second measurement of the first two (the noise), the other named
    rules, the rest of the lattice (always the point that is farthest from all before it), and the
    remaining replicates. Without a lattice the named rules are the design. An augmented lattice has
    the midpoints between centroid and corners too, and a point of it that some budget refuses is
    pulled towards the centroid until none does.
    """
    if space.kind == "list":
        return Design(points=_all(space))
    if space.kind != "rule":
        return Design()
    names = dict(space.named_shares())
    lattice = _lattice(space.sampler.lattice)
    beyond: tuple[Shares, ...] = ()
    corners = [name for name, s in lattice.items() if max(s.values) > 1 - _SAME]
    if lattice and space.sampler.augmented:
        lattice, beyond = _pulled_in({**lattice, **_blends()}, space=space, names=names)
    third = {CENTROID: CENTROID_SHARES} if lattice else {}
    paper = {PAPER: names.pop(PAPER)}
    known = {**paper, **names}
    ends = {name: lattice[name] for name in corners if name in lattice}
    first = _distinct({**third, **paper, **ends}, names=known)
    named = _distinct({**first, **names}, names=known)
    every = _distinct({**named, **lattice}, names=known)
    rest = _farthest_first({n: s for n, s in every.items() if n not in named}, after=named)
    head = [_point(space, name, shares) for name, shares in first.items()]
    central = {name for name, shares in first.items() if _distance(shares, CENTROID_SHARES) < _SAME}
    again = [p for p in head if p.name in {PAPER, *central}]
    rounds = [[replace(p, replicate=r) for p in again] for r in range(1, space.sampler.replicates)]
    body = [_point(space, n, s) for n, s in {**named, **rest}.items() if n not in first]
    return Design(
        points=(*head, *chain(*rounds[:1]), *body, *chain(*rounds[1:])),
        beyond=beyond,
    )


def _blends() -> dict[str, Shares]:
    """The midpoints between the centroid and the corners: what a coarse lattice lacks inside."""
    most, least = 2 / 3, 1 / 6
    return {
        "blend depth": Shares(depth=most, width=least, resolution=least),
        "blend width": Shares(depth=least, width=most, resolution=least),
        "blend resolution": Shares(depth=least, width=least, resolution=most),
    }


def _pulled_in(
    lattice: dict[str, Shares], *, space: Space, names: Mapping[str, Shares]
) -> tuple[dict[str, Shares], tuple[Shares, ...]]:
    """The lattice over the feasible part, and those of its points that lie beyond.

    A point beyond that is a named rule stays away: that rule is in the design, and says why.
    """
    counted, found, beyond = space.analytic_only(), dict[str, Shares](), []
    for name, shares in lattice.items():
        if _feasible(counted, shares):
            found[name] = shares
            continue
        beyond.append(shares)
        steps = (_towards_middle(shares, part=k / _PULLS) for k in range(1, _PULLS))
        inside = next((s for s in steps if _feasible(counted, s)), None)
        if inside is not None:
            near = min((_distance(inside, s) for s in names.values()), default=1.0)
            if near > _NEAR:
                found[f"{name}, pulled in"] = inside
    return found, tuple(beyond)


def _feasible(space: Space, shares: Shares) -> bool:
    try:
        space.candidate(params_within(space, shares))
    except BudgetError:
        return False
    return True


def _towards_middle(shares: Shares, *, part: float) -> Shares:
    depth, width, side = (
        round(s + part * (m - s), 9)
        for s, m in zip(shares.values, CENTROID_SHARES.values, strict=True)
    )
    return Shares(depth=depth, width=width, resolution=side)


def _all(space: Space) -> tuple[DesignPoint, ...]:
    """Every combination of whole-numbered parameters."""
    parameters = space.parameters()
    steps = [range(int(p.low), int(p.high) + 1, int(p.step or 1)) for p in parameters]
    names = [p.name for p in parameters]
    return tuple(
        DesignPoint(
            name=", ".join(f"{name} {value}" for name, value in zip(names, values, strict=True)),
            params=dict(zip(names, values, strict=True)),
        )
        for values in product(*steps)
    )


def _lattice(order: int) -> dict[str, Shares]:
    """The simplex lattice {3, order}: all triples of multiples of 1/order that sum to one."""
    if order < 1:
        return {}
    triples = [
        (i, j, order - i - j) for i in range(order, -1, -1) for j in range(order - i, -1, -1)
    ]
    return {
        f"lattice {i}-{j}-{k}": Shares(depth=i / order, width=j / order, resolution=k / order)
        for i, j, k in triples
    }


def _distinct(points: dict[str, Shares], *, names: dict[str, Shares]) -> dict[str, Shares]:
    """Points without repetitions; one that coincides with a named rule bears its name."""
    kept: dict[str, Shares] = {}
    for name, shares in points.items():
        if any(_distance(shares, other) < _SAME for other in kept.values()):
            continue
        alias = next((n for n, s in names.items() if _distance(shares, s) < _SAME), name)
        kept[alias] = shares
    return kept


def _farthest_first(points: dict[str, Shares], *, after: dict[str, Shares]) -> dict[str, Shares]:
    """The points in an order of which every prefix fills the triangle, given those before."""
    left, chosen, seen = dict(points), {}, list(after.values())
    while left:
        # rounded, so that symmetric points tie and the order does not hang on the last bit
        gaps = {n: round(min(_distance(s, o) for o in seen), 9) for n, s in left.items()}
        best = max(left, key=lambda name: gaps[name])
        chosen[best] = left.pop(best)
        seen.append(chosen[best])
    return chosen


def params_within(space: Space, shares: Shares) -> dict[str, float]:
    """The parameters of shares; what rounding pushed over a bound is put back on it."""
    bounds = {p.name: (p.low, p.high) for p in space.parameters()}
    return {
        key: min(max(value, bounds[key][0]), bounds[key][1])
        for key, value in space.params_of_shares(shares).items()
    }


def _point(space: Space, name: str, shares: Shares) -> DesignPoint:
    return DesignPoint(name=name, shares=shares, params=dict(params_within(space, shares)))


def _distance(one: Shares, other: Shares) -> float:
    return math.dist(one.values, other.values)


def identity(
    params: Mapping[str, float | int], *, replicate: int
) -> tuple[int, tuple[tuple[str, float], ...]]:
    """What makes two trials of a design the same one."""
    return replicate, tuple(sorted((name, round(value, 9)) for name, value in params.items()))
