"""The Study object, on runs that are finished."""

from pathlib import Path

import pytest

import cmt_search as cs
from cmt_search.errors import RunError


@pytest.fixture(scope="module")
def study(wide_run: Path) -> cs.Study:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cmt_search.study.N_SIMULATIONS", 10)
        study = cs.load_study(wide_run)
        assert study.analysis is study.analysis
    return study


def test_tables_are_new_objects_on_every_access(study: cs.Study) -> None:
    trials, trainings = study.trials, study.trainings
    assert len(trials) == len(study.records)
    assert set(trials["trial"]) == set(trainings["trial"])
    trials["state"] = "changed"
    trainings["state"] = "changed"
    assert "changed" not in {*study.trials["state"], *study.trainings["state"]}


def test_the_verdict_has_a_best_rule_and_its_interval(study: cs.Study) -> None:
    verdict = study.verdict
    assert verdict is not None
    assert study.no_verdict == ""
    assert verdict.best.width > 0.9
    assert verdict.interval == (verdict.difference.low, verdict.difference.high)
    assert verdict.interval[0] > 0


def test_a_study_is_frozen(study: cs.Study) -> None:
    with pytest.raises(AttributeError):
        study.records = ()  # type: ignore[misc]


def test_figures_are_those_of_the_report(study: cs.Study) -> None:
    assert {"triangle", "front"} <= set(study.figures())
    assert study.plot_triangle().data
    assert "parameters" in study.plot_front(x="params", y="top1").layout.xaxis.title.text


def test_notebooks_show_the_conclusion(study: cs.Study) -> None:
    assert repr(study).startswith("<Study tiny: rule search")
    assert "<table" in study._repr_html_()


def test_the_report_is_written_where_it_is_asked_for(study: cs.Study, tmp_path: Path) -> None:
    path = study.report(tmp_path / "report.html")
    assert path.read_text().startswith("<!doctype html>")


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"run\.json"):
        cs.load_study(tmp_path)
