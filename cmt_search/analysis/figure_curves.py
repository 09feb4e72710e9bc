"""Learning curves: one line per training."""

import itertools
from dataclasses import dataclass

import plotly.graph_objects as go

from cmt_search.analysis.figure_style import GREEN, ordered_colours, styled, without_empty_axes
from cmt_search.analysis.study import Analysis
from cmt_search.format import counted, macs_text, percent

MOST = 400  # lines; more cannot be distinguished
_Line = tuple[tuple[int, ...], tuple[float, ...], str]  # epochs, top1, label


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveGroup:
    """The trainings of one length at one budget; only a rule search has budgets."""

    budget: float | None  # MACs
    length: int  # epochs
    epochs: tuple[tuple[int, ...], ...]  # per training
    top1: tuple[tuple[float, ...], ...]  # per training, 0..1
    labels: tuple[str, ...]  # per training


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvesData:
    """Learning curves, by increasing budget and length."""

    groups: tuple[CurveGroup, ...]
    trainings: int  # with a curve; of many, `groups` holds some
    points: int = 0  # trainings of one epoch, which have no curve

    @property
    def names(self) -> tuple[str, ...]:
        """A legend entry per group: its budget, and its length where lengths differ."""
        lengths = {group.length for group in self.groups}

        def name(group: CurveGroup) -> str:
            length = counted(group.length, "epoch")
            if group.budget is None:
                return length
            return ", ".join([macs_text(group.budget)] + ([length] if len(lengths) > 1 else []))

        return tuple(map(name, self.groups))

    @property
    def finals(self) -> tuple[float, ...]:
        """Mean accuracy after the last epoch, per group."""
        return tuple(
            sum(curve[-1] for curve in group.top1) / len(group.top1) for group in self.groups
        )


def curves_data(analysis: Analysis, *, most: int = MOST) -> CurvesData:
    """Compute the learning curves; a training that answered two trials appears once.

    Trainings of one epoch have none. Of more than `most` some are left out of every group, evenly
    from the worst to the best.
    """
    seen, points = set(), 0
    lines: dict[tuple[float | None, int], list[_Line]] = {}
    for record in analysis.records:
        for rung_record in record.rungs:
            rung = rung_record.rung
            for measurement in rung_record.measurements:
                training = (rung.arch.key, rung.fidelity, measurement.seed)
                if training in seen or not measurement.curve:
                    continue
                seen.add(training)
                if len(measurement.curve) == 1:
                    points += 1
                    continue
                epochs = tuple(point.epoch for point in measurement.curve)
                top1 = tuple(point.top1 for point in measurement.curve)
                label = f"{record.name} (trial {record.number}, seed {measurement.seed})"
                lines.setdefault((rung.budget, rung.fidelity.epochs), []).append(
                    (epochs, top1, label)
                )
    ordered = sorted(lines.items(), key=lambda item: (item[0][0] or 0.0, item[0][1]))
    count = sum(map(len, lines.values()))
    return CurvesData(
        groups=tuple(
            _group(*key, _thinned(trainings, part=min(1.0, most / count)))
            for key, trainings in ordered
        ),
        trainings=count,
        points=points,
    )


def draw_curves(data: CurvesData) -> go.Figure:
    """Draw the learning curves."""
    figure = go.Figure()
    colours = ordered_colours(len(data.groups)) if len(data.groups) > 1 else [GREEN]
    for group, name, colour in zip(data.groups, data.names, colours, strict=False):
        figure.add_scatter(
            x=[x for epochs in group.epochs for x in (*epochs, None)],
            y=[y for top1 in group.top1 for y in (*(100 * value for value in top1), None)],
            text=[
                label
                for epochs, label in zip(group.epochs, group.labels, strict=True)
                for label in [label] * (len(epochs) + 1)
            ],
            mode="lines+markers",
            name=f"{name} ({len(group.labels)})",
            line={"color": colour, "width": 1.3},
            marker={"color": colour, "size": 4},
            opacity=0.65,
            hovertemplate="%{text}<br>epoch %{x}: %{y:.2f}%<extra></extra>",
        )
    last = max((e[-1] for group in data.groups for e in group.epochs), default=1)
    figure.update_xaxes(title="epoch", dtick=1 if last <= 20 else None)
    figure.update_yaxes(title="validation top-1 accuracy (%)")
    count = sum(len(group.labels) for group in data.groups)
    subtitle = f"{counted(count, 'training')}, one line each" if count else ""
    if count < data.trainings:
        subtitle = f"{count} of {data.trainings} trainings, evenly from the worst to the best"
    return without_empty_axes(styled(figure, title=_title(data), subtitle=subtitle))


def _thinned(trainings: list[_Line], *, part: float) -> list[_Line]:
    """A part of the trainings, evenly by their final accuracy, in their order."""
    if part == 1:
        return trainings
    ranked = sorted(range(len(trainings)), key=lambda i: trainings[i][1][-1])
    count = max(2, round(part * len(trainings)))
    kept = {ranked[round(k * (len(ranked) - 1) / (count - 1))] for k in range(count)}
    return [line for i, line in enumerate(trainings) if i in kept]


def _group(budget: float | None, length: int, trainings: list[_Line]) -> CurveGroup:
    epochs, top1, labels = zip(*trainings, strict=True)
    return CurveGroup(budget=budget, length=length, epochs=epochs, top1=top1, labels=labels)


def _title(data: CurvesData) -> str:
    finals = data.finals
    if not finals:
        if data.points:
            return "No learning curves: every training has one epoch"
        return "Nothing is trained yet"
    budgets = [group.budget for group in data.groups]
    if len(finals) > 1 and None not in budgets and len(set(budgets)) == len(budgets):
        trail = " → ".join(percent(value) for value in finals)
        rising = all(a < b for a, b in itertools.pairwise(finals))
        return f"Accuracy {'rises' if rising else 'does not always rise'} with the budget: {trail}"
    longest = max(data.groups, key=lambda group: (group.length, group.budget or 0.0))
    final = finals[data.groups.index(longest)]
    return f"Trainings of {counted(longest.length, 'epoch')} end at {percent(final)} on average"
