import math
from dataclasses import replace

import pytest

from cmt_search.scaling.shares import Shares
from cmt_search.search import design_points
from cmt_search.search.sampling.design import make_design
from tests.search import lookup
from tests.search.lookup import FakeSampler, FakeSpace


def space(lattice: int, replicates: int = 1) -> FakeSpace:
    return FakeSpace(sampler=FakeSampler(lattice=lattice, replicates=replicates))


def named(shares: dict[str, Shares], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "NAMED", shares)


@pytest.mark.parametrize(("order", "points"), [(1, 3), (2, 6), (3, 10), (4, 15), (6, 28)])
def test_a_lattice_holds_all_triples_that_sum_to_one(order: int, points: int) -> None:
    found = {p.shares.values for p in design_points(space(order))}
    expected = {
        (i / order, j / order, (order - i - j) / order)
        for i in range(order + 1)
        for j in range(order + 1 - i)
    }
    rounded = {tuple(round(v, 9) for v in values) for values in found}
    assert len(expected) == points
    assert {tuple(round(v, 9) for v in values) for values in expected} <= rounded
    third = 0 if order % 3 == 0 else 1  # the centroid is there in any case
    assert len(found) == points + third + len(lookup.NAMED) - 1  # depth-only is a corner


def test_a_lattice_point_that_a_named_rule_falls_on_bears_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    third = Shares(depth=1 / 3 + 1e-9, width=1 / 3, resolution=1 / 3 - 1e-9)
    corner = Shares(depth=0, width=1 - 1e-8, resolution=1e-8)
    paper = lookup.NAMED["cmt-paper"]
    named({"cmt-paper": paper, "uniform": third, "width-only": corner}, monkeypatch)
    names = [p.name for p in design_points(space(3))]
    assert "uniform" in names
    assert "width-only" in names
    assert "centroid" not in names
    assert "lattice 0-3-0" not in names
    assert len(names) == len(set(names)) == 11


def test_the_paper_rule_is_measured_once_where_it_is_the_centroid(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    named({"cmt-paper": Shares(depth=1 / 3, width=1 / 3, resolution=1 / 3)}, monkeypatch)
    points = [(p.name, p.replicate) for p in design_points(space(1, replicates=3))]
    assert points == [
        ("cmt-paper", 0),
        ("lattice 1-0-0", 0),
        ("lattice 0-1-0", 0),
        ("lattice 0-0-1", 0),
        ("cmt-paper", 1),
        ("cmt-paper", 2),
    ]


def test_centroid_and_paper_rule_are_measured_as_often_as_asked() -> None:
    points = design_points(space(2, replicates=4))
    for name in ("centroid", "cmt-paper"):
        same = [p for p in points if p.name == name]
        assert sorted(p.replicate for p in same) == [0, 1, 2, 3]
        assert len({p.shares for p in same}) == 1
    assert sum(p.replicate > 0 for p in points) == 6


def test_a_prefix_holds_the_ends_the_middle_and_the_noise() -> None:
    names = [(p.name, p.replicate) for p in design_points(space(4, replicates=3))][:8]
    assert names == [
        ("centroid", 0),
        ("cmt-paper", 0),
        ("depth-only", 0),
        ("lattice 0-4-0", 0),
        ("lattice 0-0-4", 0),
        ("centroid", 1),
        ("cmt-paper", 1),
        ("dwr", 0),
    ]


def test_the_lattice_fills_the_triangle_from_afar() -> None:
    points = [p.shares.values for p in design_points(space(5))]
    fixed = 6  # centroid, paper's rule, corners, dwr
    gaps = [min(math.dist(p, q) for q in points[:i]) for i, p in enumerate(points) if i >= fixed]
    assert len(gaps) == 21 + 3 - fixed
    assert gaps == pytest.approx(sorted(gaps, reverse=True))


def test_without_a_lattice_the_named_rules_are_the_design() -> None:
    points = [(p.name, p.replicate) for p in design_points(space(0, replicates=2))]
    assert points == [("cmt-paper", 0), ("cmt-paper", 1), ("depth-only", 0), ("dwr", 0)]


def test_points_carry_the_parameters_of_their_shares() -> None:
    for point in design_points(space(3)):
        assert point.params == {"depth": point.shares.depth, "width": point.shares.width}


def test_what_rounding_pushes_over_a_bound_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    over = {"depth": 1 + 1e-16, "width": -1e-17}
    monkeypatch.setattr(FakeSpace, "params_of_shares", lambda *_: over)
    assert design_points(space(1))[0].params == {"depth": 1, "width": 0}


def test_a_design_is_the_same_every_time() -> None:
    assert design_points(space(5, replicates=2)) == design_points(space(5, replicates=2))


def test_a_free_search_has_no_design() -> None:
    assert design_points(replace(space(3), kind="pareto")) == ()


def augmented(lattice: int, **changes: float) -> FakeSpace:
    sampler = FakeSampler(lattice=lattice, replicates=4, augmented=True)
    return FakeSpace(sampler=sampler, **changes)


def test_an_augmented_lattice_has_the_midpoints_between_centroid_and_corners() -> None:
    plain = {p.name for p in design_points(space(2))}
    found = {p.name: p.shares.values for p in design_points(augmented(2))}
    assert set(found) - plain == {"blend depth", "blend width", "blend resolution"}
    for name, corner in zip(("depth", "width", "resolution"), range(3), strict=True):
        middle = [(1 / 3 + (i == corner)) / 2 for i in range(3)]
        assert found[f"blend {name}"] == pytest.approx(middle)
    replicates = [p.replicate for p in design_points(augmented(2)) if p.name == "cmt-paper"]
    assert replicates == [0, 1, 2, 3]


def test_a_lattice_point_beyond_is_pulled_in_until_it_is_feasible(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    named({"cmt-paper": lookup.NAMED["cmt-paper"]}, monkeypatch)
    found = make_design(augmented(2, infeasible_above=0.7))
    assert [shares.values for shares in found.infeasible] == [(1, 0, 0)]
    pulled = next(p for p in found.points if p.name == "lattice 2-0-0, pulled in")
    step = pytest.approx(1 - pulled.shares.depth, abs=1e-6)
    assert pulled.shares.depth <= 0.7 < pulled.shares.depth + 2 / 3 / 8
    assert pulled.shares.width + pulled.shares.resolution == step
    assert all(p.params["depth"] <= 0.7 for p in found.points)


def test_a_point_that_would_be_pulled_onto_a_named_rule_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    near = Shares(depth=0.667, width=0.167, resolution=0.166)
    named({"cmt-paper": lookup.NAMED["cmt-paper"], "mine": near}, monkeypatch)
    names = [p.name for p in design_points(augmented(1, infeasible_above=0.7))]
    assert "mine" in names
    assert "lattice 1-0-0, pulled in" not in names


def test_a_named_rule_beyond_stays_in_the_design_and_says_why_later() -> None:
    names = [p.name for p in design_points(augmented(2, infeasible_above=0.7))]
    assert "depth-only" in names
