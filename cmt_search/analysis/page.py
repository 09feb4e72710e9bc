"""Self-contained HTML files, written atomically."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import plotly.graph_objects as go

from cmt_search.errors import RunError
from cmt_search.io import atomic_write

# For every figure: no button that offers to send it to plotly's cloud, and no advertisement.
PLOTLY_CONFIG = {"displaylogo": False, "showSendToCloud": False}


def write_page(path: Path, text: str) -> Path:
    """Write a page.

    Raises:
        RunError: the file cannot be written.
    """
    try:
        return atomic_write(path, text)
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error}); choose another file") from error


def write_figures(path: Path, figures: Sequence[go.Figure], *, title: str) -> Path:
    """Write figures below each other, plotly.js included.

    Raises:
        RunError: the file cannot be written.
    """
    parts = [
        figure.to_html(full_html=False, include_plotlyjs=i == 0, config=PLOTLY_CONFIG)
        for i, figure in enumerate(figures)
    ]
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
    return write_page(
        path, head + '<body style="margin:1.5rem">' + "".join(parts) + "</body></html>\n"
    )
