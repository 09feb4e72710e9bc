"""Pages of figures."""

from pathlib import Path

from cmt_search.analysis.page import write_figures


def test_a_title_is_escaped(tmp_path: Path) -> None:
    text = write_figures(tmp_path / "x.html", [], title="Family of rule <b>&mine").read_text()
    assert "<title>Family of rule &lt;b&gt;&amp;mine</title>" in text
