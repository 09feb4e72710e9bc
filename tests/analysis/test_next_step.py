import subprocess
from pathlib import Path

import pytest
import yaml

from cmt_search.analysis import Analysis, analyse, recommend_next_step, render_report, target_rows
from cmt_search.analysis.next_step import NextStep
from cmt_search.space.load import load_space
from tests.analysis.studies import (
    BASE_MACS,
    NAMED,
    PAPER,
    flat,
    measurement,
    peak,
    record,
    rule_study,
    rung,
)

SPACE = """kind: rule
base: {preset: cmt_nano}
budgets:
  times_base: [3, 12]
proxy:
  epochs: 4
seeds: 2
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "my run"
    folder.mkdir()
    (folder / "space.yaml").write_text(SPACE)
    return folder


def recommend(analysis: Analysis, run: Path, *, price: float | None = None) -> NextStep:
    space = load_space(run / "space.yaml").model_dump(mode="json")
    return recommend_next_step(analysis, run=str(run), space=space, price=price)


def rules(records: list) -> Analysis:
    return analyse(records, base_macs=BASE_MACS, paper=PAPER, named=NAMED)


def written(step: NextStep, run: Path) -> Path:
    """Run the first command, and return the space file that the second one names."""
    subprocess.run(["bash", "-euc", step.commands[0]], check=True, cwd=run.parent)
    return run.parent / step.commands[1].split()[-1]


def test_an_unresolved_study_asks_for_the_seeds_that_resolve_it(run: Path) -> None:
    step = recommend(rules(rule_study(flat, noise=0.016, seeds=2)), run, price=3.0)
    assert step.action == "more seeds"
    assert step.measured
    fine, coarse = step.targets
    assert (fine.difference, coarse.difference) == (0.003, 0.01)
    assert coarse.seeds is not None
    assert coarse.seeds > 2
    assert fine.seeds is None or fine.seeds > coarse.seeds
    assert coarse.trainings == 51 * coarse.seeds
    assert coarse.hours is not None
    assert coarse.cost == pytest.approx(3 * coarse.hours)
    space = load_space(written(step, run))
    assert space.seeds > 2
    assert space.budgets == load_space(run / "space.yaml").budgets


def test_a_resolved_study_is_confirmed(run: Path) -> None:
    step = recommend(rules(rule_study(peak, noise=0.002)), run)
    assert step.action == "confirm"
    assert step.commands[0].startswith("cmt-search confirm '")


def test_what_a_study_has_found_needs_no_more_seeds_than_it_has(run: Path) -> None:
    analysis = rules(rule_study(peak, noise=0.002))
    assert analysis.verdict is not None
    seeds = {target.difference: target.seeds for target in recommend(analysis, run).targets}
    for difference, count in seeds.items():
        if analysis.verdict.detectable > difference:
            assert count is None or count > 2
        else:
            assert count == 2


def test_an_unbalanced_base_is_recentred(run: Path, unbalanced: Analysis) -> None:
    step = recommend(unbalanced, run)
    assert step.action == "recentre"
    arch = load_space(written(step, run)).arch
    assert arch == unbalanced.laws.base.proposal.arch


def test_networks_near_chance_are_trained_longer(run: Path) -> None:
    trials = [record(i, (rung(number=i), [measurement(0.001)])) for i in range(8)]
    step = recommend(analyse(trials), run)
    assert step.action == "train longer"
    assert yaml.safe_load(written(step, run).read_text())["proxy"]["epochs"] == 16


def test_a_front_is_exported_and_an_interrupted_search_resumed(run: Path) -> None:
    trials = [record(i, (rung(number=i), [measurement(0.5 + i / 9)])) for i in range(3)]
    step = recommend(analyse(trials), run)
    assert step.action == "export"
    assert [target.trainings for target in step.targets] == [t.seeds for t in step.targets]
    waiting = record(3, (rung(number=3), []), state="interrupted")
    assert recommend(analyse([*trials, waiting]), run).commands[0].startswith("cmt-search resume")


def test_an_empty_study_has_no_targets(run: Path) -> None:
    assert recommend(analyse([]), run).targets == ()
    assert recommend(rules([]), run).action == "search more"


def test_the_report_shows_the_next_step_settings_and_no_none(run: Path) -> None:
    analysis = rules(rule_study(peak, noise=0.002))
    step = recommend(analysis, run, price=3.0)
    html = render_report(
        analysis,
        title="Search",
        next_step=step,
        settings={"seeds": 2, "budgets": {"times_base": [3.0, 12.0]}},
        provenance={"storage": None, "command": ["cmt-search", "run"]},
    )
    html = html[html.index("<header>") :]
    for text in ("Next step", "Thresholds", "1% level", step.text, "budgets.times_base", "cost"):
        assert text in html
    assert ">None<" not in html
    assert "storage" not in html
    ids = {part.split('"')[0] for part in html.split(' id="')[1:]}
    links = {part.split('"')[0] for part in html.split('href="#')[1:]}
    assert links <= ids
    assert len(target_rows(step)) == 2
