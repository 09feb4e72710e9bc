import re

import numpy as np
import plotly.graph_objects as go

from cmt_search.explorer.sketch import sketch


def figure(*traces: go.Scatter, log: bool = False) -> go.Figure:
    return go.Figure(traces, layout={"xaxis": {"type": "log" if log else "linear"}})


def dots(html: str) -> list[tuple[int, int]]:
    return [(int(x), int(y)) for x, y in re.findall(r"M(-?\d+) (-?\d+)h0", html)]


def points(x: list, y: list, **more: object) -> go.Scatter:
    return go.Scatter(x=x, y=y, mode="markers", marker={"color": "#0072B2", "size": 7}, **more)


def test_every_point_is_at_its_place_on_the_scales_of_the_axes() -> None:
    linear = dots(sketch(figure(points([1, 10, 100], [0, 5, 10]))))
    log = dots(sketch(figure(points([1, 10, 100], [0, 5, 10]), log=True)))
    assert [y for _, y in linear] == [y for _, y in log]
    assert linear[0] == log[0] == (54, 946)  # 6% of the range are left free on each side
    assert linear[2] == log[2] == (946, 54)
    assert (linear[1][0], log[1]) == (135, (500, 500))


def test_flipped_axes_are_flipped() -> None:
    turned = figure(points([1, 10, 100], [0, 5, 10]))
    turned.update_xaxes(autorange="reversed").update_yaxes(autorange="reversed")
    assert dots(sketch(turned))[0] == (946, 54)


def test_what_has_no_place_is_left_out() -> None:
    seen = dots(sketch(figure(points([0, 1, 2, 4, None], [1, np.nan, 2, 3, 4]), log=True)))
    assert len(seen) == 2


def test_lines_keep_their_steps_and_colours() -> None:
    for shape, path in (("hv", "H946V54"), ("vh", "V54H946"), ("linear", "L946 54")):
        line = {"color": "#D55E00", "shape": shape}
        html = sketch(figure(go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line=line)))
        assert f'd="M54 946{path}" stroke="#D55E00"' in html


def test_bands_and_hidden_traces_are_not_drawn_and_space_is_not_sketched() -> None:
    band = points([1, 2], [1, 2], fill="toself")
    hidden = points([1, 2], [1, 2], visible="legendonly")
    assert sketch(figure(band, hidden)) == ""
    assert sketch(figure()) == ""
    assert sketch(go.Figure(go.Scatter3d(x=[1], y=[1], z=[1]))) == ""


def test_a_single_point_is_in_the_middle() -> None:
    assert dots(sketch(figure(points([3], [3])))) == [(500, 500)]
