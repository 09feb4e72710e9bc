"""Numbers are read and written as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmt_search.format import format_quantity, parse_quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.5M", 1.5e6),
        ("0.64G", 0.64e9),
        ("12k", 12e3),
        ("2T", 2e12),
        (" 4.03 G ", 4.03e9),
        ("638904600 MACs", 638904600),
        ("0.6G MACs", 0.6e9),
        ("1e6", 1e6),
        (1500000, 1.5e6),
        (0.5, 0.5),
    ],
)
def test_a_quantity_is_a_number_or_one_with_a_unit(text: object, value: float) -> None:
    assert parse_quantity(text) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    "text", ["", "M", "1.5m", "1.5 MB", "-3M", "0", 0, -1, "nan", "inf", float("nan")]
)
def test_a_number_that_is_not_positive_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"not a positive number; write one such as 1\.5M"):
        parse_quantity(text)


@pytest.mark.parametrize("value", [True, None, [1], {}])
def test_a_value_that_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(ValueError) as caught:
        parse_quantity(value)
    assert str(caught.value) == (
        f"{value!r} is not a number; write one such as 1500000, 1.5M or 0.64G"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1546873472, "1.55G"),
        (638904600, "639M"),
        (443160, "443k"),
        (1e6, "1M"),
        (4.03e9, "4.03G"),
        (999, "999"),
        (12, "12"),
    ],
)
def test_a_quantity_is_formatted_with_three_digits(value: float, text: str) -> None:
    assert format_quantity(value) == text


@given(value=st.floats(1, 1e14))
def test_a_formatted_quantity_parses_to_three_digits(value: float) -> None:
    assert parse_quantity(format_quantity(value)) == pytest.approx(value, rel=0.0051)
