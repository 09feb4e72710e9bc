"""The Study object, on runs that are finished."""

from pathlib import Path

import pytest

import cmt_search as cs
from cmt_search.cost import cost
from cmt_search.errors import AnalysisError, BudgetError, ExportError, RunError, SpaceError
from cmt_search.export import load_variant


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


def test_the_front_is_exported_with_trials_and_metrics(study: cs.Study, tmp_path: Path) -> None:
    front = study.front()
    assert list(front.to_frame()["macs"]) == sorted(front.to_frame()["macs"])
    trials = {record.number: record for record in study.records}
    for variant in front:
        assert variant.trial is not None
        rungs = {rung.rung.arch.key: rung for rung in trials[variant.trial].rungs}
        measured = [m.top1 for m in rungs[variant.arch.key].measurements]
        assert variant.provenance["proxy_top1"] == measured
        assert variant.metrics["top1_sd"] >= 0
        assert variant.metrics["macs"] == cost(variant.arch).macs
    paths = front[:1].export(tmp_path, formats=["yaml", "timm"])
    (written,) = paths.values()
    again = load_variant(written["timm"])
    assert again == front[0] == load_variant(written["yaml"])
    assert again.metrics == front[0].metrics


def test_a_front_on_other_metrics_has_a_variant_per_network(study: cs.Study) -> None:
    front = study.front("params", "top1")
    assert len(set(front.names)) == len(front)
    assert "<table" in front._repr_html_()
    with pytest.raises(AnalysisError, match="speed"):
        study.front("speed", "top1")


def test_unknown_formats_are_refused_before_anything_is_written(
    study: cs.Study, tmp_path: Path
) -> None:
    for formats in (["yaml", "gguf"], "yaml"):
        with pytest.raises(ExportError, match="format"):
            study.front().export(tmp_path, formats=formats)
    assert not list(tmp_path.iterdir())


def test_a_family_grows_from_the_base_of_the_run(study: cs.Study) -> None:
    family = study.family(budgets=["2M", 4e6])
    assert family.names == ("best-2M", "best-4M")
    small, large = family["2M"], family["best-4M"]
    assert small.arch.in_chans == study.space.arch.in_chans == 1
    assert cost(large.arch).macs == pytest.approx(4e6, rel=study.space.tolerance)
    measured = study.space.budget_macs[-1]
    assert large.provenance["extrapolation"] == pytest.approx(4e6 / measured, abs=0.01)
    assert large.provenance["evidence"]["run"] == study.name
    model = large.build(num_classes=7)
    assert model.num_classes == 7
    with pytest.raises(KeyError, match="best-2M"):
        family["8M"]


def test_a_family_of_a_named_rule_around_a_preset(study: cs.Study) -> None:
    (member,) = study.family(["30M"], rule="cmt-paper", base="cmt_nano")
    assert member.arch.in_chans == 3
    with pytest.raises(SpaceError, match="cmt_nano"):
        study.family(["30M"], base="cmt_nanno")


@pytest.mark.parametrize("budgets", [["8Q"], [], ["2M", "2M"], ["2k"]])
def test_budgets_that_cannot_be_are_refused(study: cs.Study, budgets: list[str]) -> None:
    with pytest.raises(BudgetError):
        study.family(budgets)
