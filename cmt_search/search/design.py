"""The designed experiment: which candidates are measured whatever comes out, in which order."""

import math
from dataclasses import dataclass, replace
from itertools import chain, product

from cmt_search.scaling.shares import Shares
from cmt_search.search.protocols import Space

PAPER = "cmt-paper"
CENTROID = "centroid"
_SAME = 1e-6  # shares nearer than this are one point


@dataclass(frozen=True, slots=True, kw_only=True)
class DesignPoint:
    """One trial of a design."""

    name: str
    params: dict[str, float]
    shares: Shares | None = None  # rule searches
    replicate: int = 0  # shifts the training seeds; 0 is the first measurement


def design(space: Space) -> tuple[DesignPoint, ...]:
    """The trials of a search's design, in the order in which they are asked for.

    A list is measured whole. Of a rule search any prefix is useful: first the centroid, the paper's
    rule and the corners, then a second measurement of the first two (the noise), the other named
    rules, the rest of the lattice (always the point that is farthest from all before it), and the
    remaining replicates. Without a lattice the named rules are the design; a Pareto search has
    none.
    """
    if space.kind == "list":
        return _all(space)
    if space.kind != "rule":
        return ()
    names = dict(space.named_shares())
    lattice = _lattice(space.sampler.lattice)
    corners = {name: s for name, s in lattice.items() if max(s.values) > 1 - _SAME}
    middle = Shares(depth=1 / 3, width=1 / 3, resolution=1 / 3)
    third = {CENTROID: middle} if lattice else {}
    paper = {PAPER: names.pop(PAPER)}
    first = _distinct({**third, **paper, **corners}, names={**paper, **names})
    named = _distinct({**first, **names}, names={**paper, **names})
    every = _distinct({**named, **lattice}, names={**paper, **names})
    rest = _farthest_first({n: s for n, s in every.items() if n not in named}, after=named)
    head = [_point(space, name, shares) for name, shares in first.items()]
    central = {name for name, shares in first.items() if _distance(shares, middle) < _SAME}
    again = [p for p in head if p.name in {PAPER, *central}]
    rounds = [[replace(p, replicate=r) for p in again] for r in range(1, space.sampler.replicates)]
    body = [_point(space, n, s) for n, s in {**named, **rest}.items() if n not in first]
    return (*head, *chain(*rounds[:1]), *body, *chain(*rounds[1:]))


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


def _point(space: Space, name: str, shares: Shares) -> DesignPoint:
    bounds = {p.name: (p.low, p.high) for p in space.parameters()}
    params = {  # what rounding pushed over a bound is put back on it
        key: min(max(value, bounds[key][0]), bounds[key][1])
        for key, value in space.params_of_shares(shares).items()
    }
    return DesignPoint(name=name, shares=shares, params=params)


def _distance(one: Shares, other: Shares) -> float:
    return math.dist(one.values, other.values)
