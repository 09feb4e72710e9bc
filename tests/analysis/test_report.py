import re
from pathlib import Path

import pytest
from plotly.offline import get_plotlyjs

from cmt_search.analysis import analyse, curves_data, figures, headline, render_report, write_report
from cmt_search.space import Parameter
from tests.analysis.studies import (
    BASE_MACS,
    NAMED,
    PAPER,
    free_study,
    measurement,
    peak,
    record,
    rule_study,
    rung,
)

EVIL = "<script>alert(1)</script>"


def study():
    failed = record(
        17,
        (rung(number=99, macs=3_000_000, budget=3e6), []),
        state="failed",
        name=f"lattice {EVIL}",
        reason=f"loss is NaN {EVIL}",
    )
    odd = record(18, (rung(number=98, macs=3_000_000, budget=3e6), [measurement(0.6)]), name=EVIL)
    return [*rule_study(peak, noise=0.002), failed, odd]


@pytest.fixture(scope="module")
def analysis():
    return analyse(study(), base_macs=BASE_MACS, paper=PAPER, named=NAMED)


@pytest.fixture(scope="module")
def html(analysis) -> str:
    text = render_report(
        analysis,
        title=f"Rule search {EVIL}",
        provenance={"run": {"seed": 3, "note": EVIL}, "command": "cmt-search run a.yaml"},
        family_table=[{"member": "Ti", "MACs": "0.6 GMACs"}],
    )
    assert text.count(get_plotlyjs()) == 1
    return text.replace(get_plotlyjs(), "")


def test_the_report_loads_nothing_from_elsewhere(html: str) -> None:
    links = re.findall(r"""(?:src|href|action|data)\s*=\s*["']?([^"'\s>]+)""", html)
    elsewhere = [link for link in links if not link.startswith("#")]
    assert elsewhere == ["data:,"]  # the empty icon, which keeps browsers from asking for one
    assert "@import" not in html
    assert not re.search(r"url\(\s*['\"]?https?:", html)
    assert "cdn." not in html.lower()  # encoded numbers hold no dot


def test_what_a_user_or_a_failure_wrote_is_escaped_everywhere(html: str) -> None:
    assert EVIL not in html
    assert "<script>alert" not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 5  # titles, reason, names, note


def test_the_report_holds_verdict_figures_tables_and_provenance(analysis, html: str) -> None:
    assert headline(analysis.verdict) in html
    assert html.count('class="plotly-graph-div"') == 7
    for text in ("Family", "0.6 GMACs", "Named rules at the largest budget", "Trials", "run.seed"):
        assert text in html
    assert '<tr class="failed">' in html


def test_the_report_is_one_file_below_ten_megabytes(analysis, tmp_path: Path) -> None:
    path = write_report(analysis, tmp_path / "deep" / "report.html", title="Search")
    assert path.stat().st_size < 10e6
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


def test_the_importances_of_what_the_sampler_chose_are_drawn_once_there_are_trials() -> None:
    parameters = (
        Parameter(name="depth", low=2, high=12),
        Parameter(name="width", low=16, high=320),
    )
    drawn = figures(analyse(free_study(40)), parameters=parameters)
    assert drawn["importances"].layout.title.text.endswith(" decides most of top-1")
    assert set(drawn["importances"].data[0].y) == {"depth", "width"}
    assert "importances" not in figures(analyse(free_study(3)), parameters=parameters)
    assert "importances" not in figures(analyse(free_study(40)))


def test_a_search_without_rules_leads_with_its_front() -> None:
    trials = [
        record(i, (rung(number=i, macs=100 * 10**i), [measurement(0.5 + i / 10)])) for i in range(3)
    ]
    html = render_report(analyse(trials), title="Pareto")
    assert "<strong>The front rises from 50.0% at 100 MACs to 70.0% at 10 kMACs.</strong>" in html


def test_trainings_of_one_epoch_have_no_learning_curves() -> None:
    short = [record(i, (rung(number=i), [measurement(0.5, epochs=1)])) for i in range(3)]
    assert "curves" not in figures(analyse(short))
    data = curves_data(analyse([*short, record(3, (rung(number=3), [measurement(0.5)]))]))
    assert (data.trainings, data.points) == (1, 3)


def test_an_empty_study_has_a_report() -> None:
    html = render_report(analyse([]), title="Nothing")
    assert "0 trials (none yet)" in html
