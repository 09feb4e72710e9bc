import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmt_search.explorer.table_view import FIRST_SORT
from cmt_search.explorer.view import FIELDS, read_selected, read_view


def test_an_empty_address_is_the_default_view() -> None:
    assert read_view("") == read_view(None) == {field.control: field.default for field in FIELDS}


def test_the_address_decides_axes_switches_and_trials() -> None:
    view = read_view("?x=params&y=loss&log=x,y&flip=&show=dominated,bars&trial=7&d=0.25&theme=dark")
    assert (view["x-metric"], view["y-metric"]) == ("params", "loss")
    assert (view["logs"], view["flips"]) == (["x", "y"], [])
    assert view["shown"] == ["dominated", "bars"]
    assert (view["trial"], view["depth-share"], view["theme"]) == (7, 0.25, "dark")


@pytest.mark.parametrize("search", ["?x=beauty", "?trial=last", "?d=1.5", "?tab=", "?theme=pink"])
@pytest.mark.parametrize("also", ["", "&sort=beauty", "&trial=-1&other=99999999999999999999"])
def test_what_makes_no_sense_is_the_default(search: str, also: str) -> None:
    assert read_view(search + also) == read_view("")


@pytest.mark.parametrize("budget", ["400", "-400", "2.9", "nan", "inf", "1e999", "", "10**9"])
def test_a_budget_is_a_logarithm_of_macs_that_some_network_has(budget: str) -> None:
    assert read_view(f"?budget={budget}")["budget"] is None
    assert read_view("?budget=9.6")["budget"] == 9.6


def test_the_order_of_the_table_is_a_column_and_its_direction() -> None:
    assert read_view("?sort=-top-1")["sort"] == {"column": "top-1", "descending": True}
    assert read_view("?sort=MACs")["sort"] == {"column": "MACs", "descending": False}
    assert read_view("")["sort"] == FIRST_SORT


def test_overlays_that_nobody_knows_are_left_out() -> None:
    view = read_view("?over=garbage,published,run:mine,published")
    assert view["overlays"] == ["published", "run:mine"]


@pytest.mark.parametrize(
    ("search", "trials"),
    [
        ("", None),
        ("?sel=", []),
        ("?sel=3", [3]),
        ("?sel=1-3,9", [1, 2, 3, 9]),
        ("?sel=a,4-b,5,\u00b2,-1,9-7", [5]),
        ("?sel=" + "9" * 5000, []),
    ],
)
def test_the_selection_stands_in_the_address_as_ranges(search: str, trials: object) -> None:
    assert read_selected(search) == trials


@given(st.sets(st.integers(0, 9999), min_size=1))
def test_a_long_selection_stands_in_the_address_as_a_bit_per_trial(trials: set[int]) -> None:
    bits = np.zeros(max(trials) + 1, dtype=bool)
    bits[list(trials)] = True
    packed = np.packbits(bits, bitorder="little").tobytes()
    text = base64.urlsafe_b64encode(packed).decode().rstrip("=")
    assert read_selected(f"?sel=~{text}") == sorted(trials)


@pytest.mark.parametrize(("search", "trials"), [("?sel=~", []), ("?sel=~A", None)])
def test_bits_that_were_cut_off_select_nothing_that_was_not_chosen(
    search: str, trials: object
) -> None:
    assert read_selected(search) == trials


def test_endless_ranges_end() -> None:
    assert len(read_selected("?sel=" + "0-999999999," * 50)) == 1_000_000
