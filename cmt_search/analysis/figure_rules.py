"""Named rules against the paper's, budget by budget: predicted with intervals, and measured."""

from dataclasses import dataclass

import plotly.graph_objects as go

from cmt_search.analysis.figure_style import BLACK, ordered_colours, styled
from cmt_search.analysis.study import Analysis
from cmt_search.analysis.verdict import RuleComparison
from cmt_search.format import macs_text, points
from cmt_search.stats import SMALLEST_EFFECT


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesData:
    """Data of the comparison of rules."""

    names: tuple[str, ...]  # best at the largest budget first, without the paper's rule
    budgets: tuple[float, ...]  # ascending
    rules: tuple[RuleComparison, ...]


def rules_data(analysis: Analysis) -> RulesData:
    """Compute the comparison of named rules."""
    rules = tuple(r for r in analysis.rules if analysis.named[r.name] != analysis.paper)
    budgets = tuple(sorted({rule.budget for rule in rules}))
    largest = [rule for rule in rules if rule.budget == budgets[-1]] if budgets else []
    ranked = sorted(largest, key=lambda rule: -rule.predicted.mean)
    return RulesData(names=tuple(rule.name for rule in ranked), budgets=budgets, rules=rules)


def draw_rules(data: RulesData) -> go.Figure:
    """Draw the comparison of named rules."""
    figure = go.Figure()
    figure.add_vrect(
        x0=-100 * SMALLEST_EFFECT,
        x1=100 * SMALLEST_EFFECT,
        fillcolor="#CBD2D9",
        opacity=0.5,
        line_width=0,
    )
    figure.add_vline(x=0, line={"color": BLACK, "width": 1})
    place = {name: -i for i, name in enumerate(data.names)}
    step = 0.6 / max(len(data.budgets), 1)
    for i, (budget, colour) in enumerate(
        zip(data.budgets, ordered_colours(len(data.budgets)), strict=True)
    ):
        shift = step * ((len(data.budgets) - 1) / 2 - i)
        rows = [rule for rule in data.rules if rule.budget == budget]
        _add_budget(
            figure,
            rows,
            heights=[place[rule.name] + shift for rule in rows],
            name=macs_text(budget),
            colour=colour,
        )
    figure.update_yaxes(
        tickvals=list(place.values()), ticktext=list(place), zeroline=False, showgrid=False
    )
    figure.update_xaxes(title="top-1 against the paper's rule at the same MACs (pp)")
    figure.update_layout(margin_l=130)
    styled(
        figure,
        title=_title(data),
        subtitle=(
            "Filled: predicted, with an interval that holds for all rules at once (95%). "
            f"Open: measured. Grey: ±{points(SMALLEST_EFFECT)} pp"
        ),
        height=180 + 34 * max(len(data.names), 3) * max(len(data.budgets), 2) // 2,
    )
    return figure.update_layout(margin_l=130)


def _add_budget(
    figure: go.Figure,
    rows: list[RuleComparison],
    *,
    heights: list[float],
    name: str,
    colour: str,
) -> None:
    mean = [100 * rule.predicted.mean for rule in rows]
    figure.add_scatter(
        x=mean,
        y=heights,
        error_x={
            "array": [100 * (rule.predicted.high - rule.predicted.mean) for rule in rows],
            "arrayminus": [100 * (rule.predicted.mean - rule.predicted.low) for rule in rows],
            "color": colour,
            "thickness": 1.5,
            "width": 4,
        },
        mode="markers",
        name=f"{name}, predicted",
        marker={"color": colour, "size": 9},
        text=[rule.name for rule in rows],
        hovertemplate="%{text}: %{x:+.2f} pp predicted<extra></extra>",
    )
    seen = [(rule, y) for rule, y in zip(rows, heights, strict=True) if rule.measured is not None]
    figure.add_scatter(
        x=[100 * rule.measured for rule, _ in seen if rule.measured is not None],
        y=[y for _, y in seen],
        mode="markers",
        name=f"{name}, measured",
        marker={"color": colour, "size": 9, "symbol": "diamond-open", "line": {"width": 1.5}},
        text=[f"{rule.name} ({rule.measurements} seeds)" for rule, _ in seen],
        hovertemplate="%{text}: %{x:+.2f} pp measured<extra></extra>",
    )


def _title(data: RulesData) -> str:
    if not data.budgets:
        return "No named rule to compare"
    largest = [rule for rule in data.rules if rule.budget == data.budgets[-1]]
    better = sum(rule.predicted.low > 0 for rule in largest)
    worse = sum(rule.predicted.high < 0 for rule in largest)
    at = macs_text(data.budgets[-1])
    if not better and not worse:
        return f"No named rule differs measurably from the paper's at {at}"
    rest = len(largest) - better - worse
    return (
        f"At {at}: {better} better than the paper's rule, {worse} worse, {rest} not distinguishable"
    )
