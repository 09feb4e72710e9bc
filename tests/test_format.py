import pytest

from cmt_search.format import counted, duration, macs_text, points


@pytest.mark.parametrize(
    ("top1", "text"),
    [(0.0123, "+1.2"), (-0.0123, "−1.2"), (0.0004, "+0.04"), (0.0, "0.0"), (-0.00001, "0.0")],  # noqa: RUF001
)
def test_points_are_hundred_times_top1_and_never_a_signed_nothing(top1: float, text: str) -> None:
    assert points(top1, sign=True) == text


def test_quantities_take_the_unit_that_suits_them() -> None:
    assert macs_text(1_546_873_472) == "1.55 GMACs"
    assert macs_text(6_000_000) == "6 MMACs"
    assert macs_text(12) == "12 MACs"
    assert duration(42) == "42 seconds"
    assert duration(90) == "1.5 minutes"
    assert duration(7200) == "2.0 hours"


def test_one_of_a_kind_has_no_plural() -> None:
    assert [counted(n, "trial") for n in (0, 1, 2)] == ["0 trials", "1 trial", "2 trials"]
