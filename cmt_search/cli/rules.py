"""rules: the named scaling rules around a base, and the networks that they give."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmt_search.cli.completing import presets
from cmt_search.cli.options import Json, macs_of
from cmt_search.errors import BudgetError, SpaceError
from cmt_search.presets import PRESETS, PUBLISHED

if TYPE_CHECKING:
    from cmt_search.arch import Arch
    from cmt_search.scaling import Explanation, RuleRow

_TIMES_BASE = (0.25, 1.0, 4.0)  # budgets where none are given


def rules(
    base: Annotated[
        str,
        typer.Option(
            help="Preset, exported file or folder, or YAML that the rules scale.",
            autocompletion=presets,
        ),
    ] = "cmt_s",
    budgets: Annotated[
        str | None, typer.Option(help="MACs, as 0.64G,1.5G; default: 0.25, 1 and 4 times the base.")
    ] = None,
    constants: Annotated[
        str | None, typer.Option(help="A rule of your own, as alpha,beta,gamma: 1.2,1.3,1.15.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Write figures to this HTML file.")] = None,
    json: Json = False,
) -> None:
    """The named scaling rules around a base: shares, constants, members, and where they mislead."""
    from cmt_search.cli.console import print_json
    from cmt_search.cli.networks import network_of
    from cmt_search.scaling import describe_rules, exponent_table

    if plot is not None and plot.suffix != ".html":
        raise SpaceError(f"--plot {plot}: figures are written as a page; name it {plot.stem}.html")
    network = network_of(base)
    asked = sorted(macs_of(budgets)) if budgets else _around(network)
    own = (_own(network, text=constants, budgets=asked),) if constants else ()
    rows = (*own, *describe_rules(network, budgets=asked))
    explained = _published(network)
    if json:
        data: dict[str, Any] = {"base": network.key, "rules": [row.to_dict() for row in rows]}
        drift = [
            {
                "rule": row.rule,
                "promised": row.promised,
                "true": row.true,
                "local": list(row.local),
                "path": list(row.path),
            }
            for row in exponent_table(network)
        ]
        print_json(data | {"exponents": drift, "published": explained and _as_json(explained)})
    else:
        _print(base, network, rows=rows, budgets=asked, explained=explained)
    if plot is not None:
        _plot(plot, network, rows=rows, published=explained is not None, quiet=json)


def _print(
    name: str,
    base: "Arch",
    *,
    rows: "tuple[RuleRow, ...]",
    budgets: list[float],
    explained: "Explanation | None",
) -> None:
    from cmt_search.cli.console import say, show_table

    show_table(
        [_row(row, budgets=budgets) for row in rows],
        title=f"Rules around {name}: shares of growth, constants per 2.5 times the MACs",
        result=True,
    )
    for row in rows:
        called = f" (also {', '.join(row.aliases)})" if row.aliases else ""
        say(f"{row.name}{called}: {row.source}")
        for macs, reason in row.missing.items():
            say(f"  no member at {macs:,.0f} MACs: {reason}")
    show_table(_drift(base), title="Where constant exponents lead: MACs promised against true")
    if explained is not None:
        depth, width, side = explained.rule.shares.values
        fit = ", ".join(
            f"{size} {r2:.3f}"
            for size, r2 in zip(("depth", "width", "resolution"), explained.r_squared, strict=True)
        )
        say(
            "one rule through the published Ti, XS and B: shares "
            f"{depth:.2f}, {width:.2f}, {side:.2f}; R^2 of log sizes: {fit}"
        )


def _row(row: "RuleRow", *, budgets: list[float]) -> dict[str, str]:
    from cmt_search.cli.console import sizes_text
    from cmt_search.space import format_quantity

    shares = row.shares.values if row.shares else (None,) * 3
    constants = row.constants or (None,) * 3
    cells = {"rule": row.name}
    cells |= dict(zip(("depth", "width", "res."), map(_cell, shares), strict=True))
    cells |= dict(zip(("alpha", "beta", "gamma"), map(_cell, constants), strict=True))
    members = {member.budget.macs: member.arch for member in row.members}
    for macs in budgets:
        cells[format_quantity(macs)] = sizes_text(members[macs]) if macs in members else "none"
    return cells


def _cell(value: float | None) -> str:
    return "varies" if value is None else f"{value:.3f}"


def _drift(base: "Arch") -> list[dict[str, str]]:
    """A row per rule, a column per growth."""
    from cmt_search.scaling import exponent_table

    rows: dict[str, dict[str, str]] = {}
    for row in exponent_table(base):
        cells = rows.setdefault(row.rule, {"rule": row.rule})
        cells[f"{row.promised:g} times"] = f"{row.error:+.1%}"
    return list(rows.values())


def _published(base: "Arch") -> "Explanation | None":
    """How well one rule explains the paper's variants, around its own base."""
    from cmt_search.scaling import fitted_rule

    if base != PRESETS["cmt_s"]:
        return None
    return fitted_rule(base, variants=[PRESETS[name] for name in PUBLISHED if name != "cmt_s"])


def _as_json(explained: "Explanation") -> dict[str, Any]:
    return {
        "shares": [round(v, 4) for v in explained.rule.shares.values],
        "r_squared": [round(float(v), 4) for v in explained.r_squared],
        "rms_log": [round(float(v), 4) for v in explained.rms],
    }


def _own(base: "Arch", *, text: str, budgets: list[float]) -> "RuleRow":
    from cmt_search.scaling import ScalingRule, describe_rule

    try:
        alpha, beta, gamma = (float(part) for part in text.split(","))
    except ValueError:
        raise BudgetError(
            f"--constants {text!r} are not three numbers; write alpha,beta,gamma as 1.2,1.3,1.15"
        ) from None
    rule = ScalingRule.from_constants(base, alpha=alpha, beta=beta, gamma=gamma, name="own")
    return describe_rule(rule, source="--constants", budgets=budgets)


def _around(base: "Arch") -> list[float]:
    from cmt_search.cost import cost

    macs = cost(base).macs
    return [float(round(times * macs)) for times in _TIMES_BASE]


def _plot(
    path: Path, base: "Arch", *, rows: "tuple[RuleRow, ...]", published: bool, quiet: bool
) -> None:
    from cmt_search.analysis import draw_family, draw_rules_map, family_data, write_figures
    from cmt_search.cli.console import say

    data = family_data(
        {row.name: [member.arch for member in row.members] for row in rows if row.members},
        published={name: PRESETS[name] for name in PUBLISHED} if published else {},
        base=base,
    )
    shares = {row.name: row.shares for row in rows if row.shares is not None}
    write_figures(path, [draw_rules_map(shares), draw_family(data)], title="Scaling rules")
    if not quiet:
        say(f"figures: {path}")
