import pandas as pd
import pytest

from cmt_search.analysis.baselines import FAMILY, baselines
from cmt_search.cost import cost
from cmt_search.presets import PRESETS


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return baselines()


def test_every_accuracy_is_marked_as_published_and_has_a_source(table: pd.DataFrame) -> None:
    assert table["note"].str.startswith("top-1 published (ImageNet-1k), MACs ").all()
    assert set(table["gmacs_kind"]) == {"measured", "published"}
    assert (table["note"].str.split().str[-1] == table["gmacs_kind"]).all()
    assert (table["source"].str.len() > 10).all()
    assert table["top1"].between(0.6, 0.9).all()


def test_a_network_stands_in_it_once(table: pd.DataFrame) -> None:
    assert len(table) > 100
    assert not table.duplicated(["family", "variant", "resolution"]).any()


def test_measured_macs_of_cmt_are_those_of_the_cost_model(table: pd.DataFrame) -> None:
    own = table[(table["family"] == FAMILY) & (table["gmacs_kind"] == "measured")]
    assert list(own["variant"]) == ["cmt_ti", "cmt_xs", "cmt_s", "cmt_b"]
    for row in own.itertuples():
        counted = cost(PRESETS[str(row.variant)])
        assert row.macs == pytest.approx(counted.macs, rel=2e-3)
        assert row.params == pytest.approx(counted.params, rel=2e-3)


def test_a_callers_changes_stay_its_own(table: pd.DataFrame) -> None:
    own = baselines()
    own["top1"] = 0.0
    assert (baselines()["top1"] > 0).all()
    assert len(baselines()) == len(table)
