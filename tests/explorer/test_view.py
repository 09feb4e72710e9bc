import pytest

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
def test_what_makes_no_sense_is_the_default(search: str) -> None:
    assert read_view(search) == read_view("")


@pytest.mark.parametrize(
    ("search", "trials"),
    [("", None), ("?sel=3", [3]), ("?sel=1-3,9", [1, 2, 3, 9]), ("?sel=a,4-b,5", [5])],
)
def test_the_selection_stands_in_the_address_as_ranges(search: str, trials: object) -> None:
    assert read_selected(search) == trials
