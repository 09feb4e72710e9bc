"""The code of docs/python.md runs, in order, in a folder with a finished run."""

import re
from pathlib import Path

import pytest

from cmt_search.builder import CMT

PAGE = Path(__file__).parents[1] / "docs" / "python.md"


def test_the_python_page_runs_from_its_first_line_to_its_last(
    wide_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "quickstart").symlink_to(wide_run)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cmt_search.study.N_SIMULATIONS", 10)
    names: dict[str, object] = {}
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(code, str(PAGE), "exec"), names)
    model = names["model"]
    assert isinstance(model, CMT)
    assert model.num_classes == 100
    assert (tmp_path / "report.html").exists()
    assert list((tmp_path / "models").glob("trial-*.yaml"))
    assert "Shares(" in capsys.readouterr().out
