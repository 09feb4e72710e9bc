"""rules: list the named scaling rules around a base, with their members."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmt_search.cli.completing import presets
from cmt_search.cli.options import Json, macs_of
from cmt_search.errors import BudgetError, SpaceError
from cmt_search.presets import PRESETS, PUBLISHED
from cmt_search.scaling.shares import DIMENSIONS

if TYPE_CHECKING:
    from cmt_search.arch import Arch
    from cmt_search.scaling import RuleFit, RuleRow

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
        str | None, typer.Option(help="Custom rule, as alpha,beta,gamma: 1.2,1.3,1.15.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Write figures to this HTML file.")] = None,
    json: Json = False,
) -> None:
    """List the named scaling rules around a base: shares, constants and members."""
    from cmt_search.cli.console import print_json
    from cmt_search.cli.networks import network_of
    from cmt_search.scaling import describe_rules, named_rule

    if plot is not None and plot.suffix != ".html":
        raise SpaceError(f"--plot {plot}: figures are written as a page; name it {plot.stem}.html")
    network = network_of(base)
    macs = sorted(macs_of(budgets)) if budgets else _default_budgets(network)
    custom = (_custom_rule(network, text=constants, budgets=macs),) if constants else ()
    rows = (*custom, *describe_rules(network, budgets=macs))
    fit = _fit_published(network)
    if json:
        exponents = [round(e, 4) for e in named_rule("uniform", base=network).exponents]
        data: dict[str, Any] = {"base": network.key, "exponents": exponents}
        data |= {"rules": [row.to_dict() for row in rows]}
        print_json(data | {"published": _fit_to_dict(fit) if fit else None})
    else:
        _print(base, rows=rows, budgets=macs, fit=fit)
    if plot is not None:
        _plot(plot, network, rows=rows, published=fit is not None, quiet=json)


def _print(
    name: str,
    *,
    rows: "tuple[RuleRow, ...]",
    budgets: list[float],
    fit: "RuleFit | None",
) -> None:
    from cmt_search.cli.console import say, show_table

    show_table(
        [_row(row, budgets=budgets) for row in rows],
        title=f"Rules around {name}: shares of growth, constants per 2.5 times the MACs",
        result=True,
    )
    for row in rows:
        aliases = f" (also {', '.join(row.aliases)})" if row.aliases else ""
        say(f"{row.rule.name}{aliases}: {row.source}")
        for macs, reason in row.missing.items():
            say(f"  no member at {macs:,.0f} MACs: {reason}")
    if fit is not None:
        shares = ", ".join(f"{share:.2f}" for share in fit.rule.shares.values)
        r_squared = ", ".join(
            f"{size} {r2:.3f}" for size, r2 in zip(DIMENSIONS, fit.r_squared, strict=True)
        )
        say(
            f"rule fitted to the published Ti, XS and B: shares {shares}; "
            f"R^2 of log sizes: {r_squared}"
        )


def _row(row: "RuleRow", *, budgets: list[float]) -> dict[str, str]:
    from cmt_search.cli.console import sizes_text
    from cmt_search.format import format_quantity

    columns = ("depth", "width", "res.", "alpha", "beta", "gamma")
    values = (*row.rule.shares.values, *row.rule.constants())
    cells = {"rule": row.rule.name}
    cells |= {name: f"{value:.3f}" for name, value in zip(columns, values, strict=True)}
    members = {member.budget.macs: member.arch for member in row.members}
    for macs in budgets:
        cells[format_quantity(macs)] = sizes_text(members[macs]) if macs in members else "none"
    return cells


def _fit_published(base: "Arch") -> "RuleFit | None":
    """Fit one rule to the paper's variants; None unless `base` is the paper's."""
    from cmt_search.scaling import fit_rule

    if base != PRESETS["cmt_s"]:
        return None
    return fit_rule(base, variants=[PRESETS[name] for name in PUBLISHED if name != "cmt_s"])


def _fit_to_dict(fit: "RuleFit") -> dict[str, Any]:
    return {
        "shares": [round(v, 4) for v in fit.rule.shares.values],
        "r_squared": [round(float(v), 4) for v in fit.r_squared],
        "rms_log": [round(float(v), 4) for v in fit.rms],
    }


def _custom_rule(base: "Arch", *, text: str, budgets: list[float]) -> "RuleRow":
    from cmt_search.scaling import Constants, ScalingRule, describe_rule

    try:
        alpha, beta, gamma = (float(part) for part in text.split(","))
    except ValueError:
        raise BudgetError(
            f"--constants {text!r} are not three numbers; write alpha,beta,gamma as 1.2,1.3,1.15"
        ) from None
    rule = ScalingRule.from_constants(base, Constants(alpha, beta, gamma), name="custom")
    return describe_rule(rule, source="--constants", budgets=budgets)


def _default_budgets(base: "Arch") -> list[float]:
    from cmt_search.cost import cost

    macs = cost(base).macs
    return [float(round(times * macs)) for times in _TIMES_BASE]


def _plot(
    path: Path, base: "Arch", *, rows: "tuple[RuleRow, ...]", published: bool, quiet: bool
) -> None:
    from cmt_search.analysis import draw_family, draw_rules_map, family_data, write_figures
    from cmt_search.cli.console import say

    data = family_data(
        {row.rule.name: [member.arch for member in row.members] for row in rows if row.members},
        published={name: PRESETS[name] for name in PUBLISHED} if published else {},
        base=base,
    )
    shares = {row.rule.name: row.rule.shares for row in rows}
    write_figures(path, [draw_rules_map(shares), draw_family(data)], title="Scaling rules")
    if not quiet:
        say(f"figures: {path}")
