"""Figures as images for papers."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import plotly.graph_objects as go
import plotly.io as pio

from cmt_search.errors import AnalysisError

Kind = Literal["png", "svg"]
_SIZE = (1000, 560)  # pixels where a figure does not say
_SCALE = 3  # of pixels in a PNG: sharp in print


def write_images(figures: Mapping[str, go.Figure], folder: Path, *, kind: str) -> list[Path]:
    """Write each figure as NAME.png or NAME.svg.

    Raises:
        AnalysisError: kaleido, Chrome or the right to write is missing.
    """
    if find_spec("kaleido") is None:
        raise AnalysisError(
            "images need kaleido; install it with `pip install 'cmt-search[images]'`"
        )
    paths, drawn = [folder / f"{name}.{kind}" for name in figures], list(figures.values())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        pio.write_images(  # all in one browser
            fig=drawn,
            file=[str(path) for path in paths],
            format=kind,
            width=[figure.layout.width or _SIZE[0] for figure in drawn],
            height=[figure.layout.height or _SIZE[1] for figure in drawn],
            scale=_SCALE if kind == "png" else 1,
        )
    except OSError as error:
        raise AnalysisError(
            f"{folder} cannot be written ({error}); choose another folder"
        ) from error
    except RuntimeError as error:  # what plotly raises where it finds no browser
        raise AnalysisError(
            "images need Chrome or Chromium, and none was found; install one (apt-get install "
            "chromium), or set BROWSER_PATH to its file"
        ) from error
    return paths
