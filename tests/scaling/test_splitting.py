"""Blocks are split over stages by largest remainder."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmt_search.scaling.solver import split_depth


@pytest.mark.parametrize(
    ("total", "ideal", "split"),
    [
        (25, (3, 3, 16, 3), (3, 3, 16, 3)),
        (50, (3, 3, 16, 3), (6, 6, 32, 6)),
        (13, (3, 3, 16, 3), (2, 2, 8, 1)),  # 1.56, 1.56, 8.32, 1.56: earlier stages win a tie
        (15, (2, 2, 6, 2), (3, 3, 7, 2)),  # 2.5, 2.5, 7.5, 2.5
        (7, (1, 1, 3, 1), (1, 1, 4, 1)),  # 1.17, 1.17, 3.5, 1.17
        (4, (3, 3, 16, 3), (1, 1, 1, 1)),
        (5, (0.2, 0.2, 9.4, 0.2), (1, 1, 2, 1)),  # one at least, at the largest's expense
        (10, (2.6, 3.4, 4.0), (3, 3, 4)),
    ],
)
def test_blocks_are_split_by_largest_remainder(
    total: int, ideal: tuple[float, ...], split: tuple[int, ...]
) -> None:
    assert split_depth(total, ideal=ideal) == split


@given(ideal=st.lists(st.floats(0.05, 60), min_size=1, max_size=6), extra=st.integers(0, 100))
def test_a_split_uses_every_block_and_leaves_no_stage_empty(ideal: list[float], extra: int) -> None:
    total = len(ideal) + extra
    split = split_depth(total, ideal=ideal)
    assert sum(split) == total
    assert min(split) >= 1
    wanted = [value * total / math.fsum(ideal) for value in ideal]
    if min(wanted) >= 1:
        assert all(abs(d - w) < 1 + 1e-6 for d, w in zip(split, wanted, strict=True))


@given(total=st.integers(4, 60), stage=st.integers(0, 3), bits=st.integers(-3, 3))
def test_equal_remainders_are_not_told_apart_by_the_last_bits(
    total: int, stage: int, bits: int
) -> None:
    ideal = [2.0, 2.0, 6.0, 2.0]
    nudged = [v * (1 + bits * 2.0**-50) if i == stage else v for i, v in enumerate(ideal)]
    assert split_depth(total, ideal=nudged) == split_depth(total, ideal=ideal)
