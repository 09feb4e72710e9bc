"""What a variant says of where it comes from: plain, and of the kind that the card tells."""

import datetime
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cmt_search.errors import ExportError
from cmt_search.export import FORMATS, Source, Variant
from tests.builder.tiny import TINY

HOLDS_ITSELF: list[Any] = []
HOLDS_ITSELF.append(HOLDS_ITSELF)


@pytest.mark.parametrize(
    ("provenance", "message"),
    [
        ({"budget": "lots"}, r"provenance\.budget='lots' is no number of MACs"),
        ({"budget": 0}, r"provenance\.budget=0 is no number of MACs"),
        ({"shares": {"depth": "a"}}, r"provenance\.shares=\{'depth': 'a'\} is no mapping of depth"),
        ({"realised": [0.1, "b"]}, r"provenance\.realised=\[0\.1, 'b'\] is no list of numbers"),
        ({"proxy_top1": "high"}, r"provenance\.proxy_top1='high' is no list of numbers"),
        ({"evidence": [1]}, r"provenance\.evidence=\[1\] is no mapping"),
        ({"evidence": {"says": 3}}, r"provenance\.evidence\.says=3 is no list of sentences"),
        ({"evidence": {"says": [3]}}, r"provenance\.evidence\.says=\[3\] is no list of sentences"),
        ({"rule": 3}, r"provenance\.rule=3 is no text"),
        ({"when": datetime.date(2020, 1, 1)}, r"provenance\.when=datetime.* is no plain value"),
        ({"x": math.nan}, r"provenance\.x=nan is no plain value; use text, finite numbers"),
        ({"x": {"y": [0, math.inf]}}, r"provenance\.x\.y\[1\]=inf is no plain value"),
        ({"x": 2**63}, r"provenance\.x=\d+ is no plain value"),
        ({"x": {1: 2}}, r"provenance\.x=\{1: 2\} is no plain value"),
        ({"x": "\ud800"}, r"provenance\.x=.* is no text that a file can hold"),
        ({"x": HOLDS_ITSELF}, "nests too deeply, or holds itself"),
        ("runs/first", r"provenance='runs/first' is no mapping"),
    ],
)
def test_what_no_file_could_give_back_is_refused_by_the_field(
    provenance: Any, message: str
) -> None:
    with pytest.raises(ExportError, match=message):
        Variant(name="x", arch=TINY, provenance=provenance)


def test_a_name_is_text() -> None:
    with pytest.raises(ExportError, match="name=3 is not text"):
        Variant(name=3, arch=TINY)  # type: ignore[arg-type]


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**63) + 1, max_value=2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=20, deadline=None)
@example(told="a\x85b\u2028\u2029")  # line ends to Unicode, spaces to PyYAML
@given(told=PLAIN)
def test_whatever_is_plain_comes_back_in_every_format(
    told: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder: Path = tmp_path_factory.mktemp("plain")
    source = Source(variant=Variant(name="x", arch=TINY, provenance={"told": told}))
    for form in (FORMATS["yaml"], FORMATS["timm"]):
        form.write(source, folder)
        assert form.read(folder / form.path("x")) == source.variant
