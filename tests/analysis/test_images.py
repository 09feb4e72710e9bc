import shutil
from pathlib import Path

import plotly.graph_objects as go
import pytest

from cmt_search.analysis import images, write_images
from cmt_search.errors import AnalysisError

FIGURES = {"front": go.Figure(go.Scatter(x=[1, 2], y=[3, 4]), layout={"title": "A front"})}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def test_without_kaleido_the_extra_to_install_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(images, "find_spec", lambda _name: None)
    with pytest.raises(AnalysisError) as error:
        write_images(FIGURES, tmp_path, kind="png")
    assert str(error.value) == (
        "images need kaleido; install it with `pip install 'cmt-search[images]'`"
    )


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    pytest.importorskip("kaleido", reason="kaleido is not installed")
    taken = tmp_path / "images"
    taken.write_text("")
    with pytest.raises(AnalysisError, match=r"images cannot be written .* choose another folder"):
        write_images(FIGURES, taken, kind="png")


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
@pytest.mark.parametrize(("kind", "begins"), [("png", b"\x89PNG\r\n"), ("svg", b"<svg")])
def test_every_figure_becomes_an_image(kind: str, begins: bytes, tmp_path: Path) -> None:
    pytest.importorskip("kaleido", reason="kaleido is not installed")
    [path] = write_images(FIGURES, tmp_path / "new", kind=kind)
    assert path == tmp_path / "new" / f"front.{kind}"
    assert path.read_bytes().startswith(begins)
    if kind == "svg":
        assert "A front" in path.read_text()
    else:
        width, height = (int.from_bytes(path.read_bytes()[at : at + 4]) for at in (16, 20))
        assert (width, height) == (3000, 1680)  # three pixels for one: sharp in print
