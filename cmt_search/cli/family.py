"""family: the best rule, solved at any budgets, beside others."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmt_search.cli.completing import bases, rules, rules_list
from cmt_search.cli.earlier import aside
from cmt_search.cli.options import Json, RunArgument, Storage, macs_of
from cmt_search.errors import BudgetError

if TYPE_CHECKING:
    from cmt_search.family import SolvedFamily

OWN_BASE = "run"  # the search's own base
_EXTRAPOLATED = 2  # times the largest measured growth in MACs
_PAPER_BUDGETS = "0.64G,1.55G,4.03G,9.32G"  # MACs of the published variants
_PAPER_NAMES = "Ti,XS,S,B"


def family(
    run: RunArgument,
    budgets: Annotated[str, typer.Option(help="MACs, as 0.64G,1.5G.")] = _PAPER_BUDGETS,
    base: Annotated[
        str,
        typer.Option(
            help="Preset that the rule scales, or `run`: the search's own base.",
            autocompletion=bases,
        ),
    ] = "cmt_s",
    rule: Annotated[
        str,
        typer.Option(
            help="best, a rule by its name, or least-activations, least-params: "
            "of the rules not told from the best, the one that is cheapest so.",
            autocompletion=rules,
        ),
    ] = "best",
    beside: Annotated[
        str,
        typer.Option(
            help="Rules to solve at the same budgets, by name; none for none.",
            autocompletion=rules_list,
        ),
    ] = "cmt-paper",
    names: Annotated[
        str | None,
        typer.Option(help="Names of the members, as Ti,XS,S,B; default: the budgets'."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="HTML file for the figures; default: family.html in RUN.")
    ] = None,
    storage: Storage = None,
    json: Json = False,
) -> None:
    """Solve the family of the best rule at any budgets, beside others and the paper's variants.

    Around the search's own base, its caps on params and activations hold. Another family that lies
    in the run is kept beside it, as family.yaml.1, .2 and so on.
    """
    from cmt_search.cli.console import print_json, say, say_paths, show_table
    from cmt_search.cli.family_page import family_rows, write_family_page
    from cmt_search.export import write_family
    from cmt_search.family import collect_evidence, solve_family
    from cmt_search.study import load_study

    asked = _named(budgets, names=names)
    study = load_study(run, storage=storage)
    folder, space, analysis = study.run, study.space, study.analysis
    solved = {
        name: solve_family(name, labels=asked, base=base, analysis=analysis, space=space)
        for name in (rule, *_others(beside, rule=rule))
    }
    families = [one.family for one in solved.values()]
    own, missing = solved[rule].family, solved[rule].missing
    if not own.members:
        raise BudgetError(f"no budget can be met: {next(iter(missing.values()))}")
    evidence = collect_evidence(analysis, run=study.name)
    with aside(folder.family) as before:
        path = write_family(
            own,
            path=folder.family,
            names={m.budget.macs: solved[rule].name_of(m) for m in own.members},
            evidence=evidence,
            missing=missing,
            beside=families[1:],
        )
    earlier = before if before is not None and before.exists() else None
    published = base != OWN_BASE
    page = write_family_page(
        plot or folder.path / "family.html",
        families=families,
        analysis=analysis,
        published=published,
    )
    if json:
        others = [_whole(one) for name, one in solved.items() if name != rule]
        files = {"family": str(path), "figures": str(page)}
        files |= {"earlier": str(earlier)} if earlier else {}
        told = {"missing": dict(missing), "evidence": evidence, "beside": others}
        print_json({**files, **_whole(solved[rule]), **told})
        return
    say_paths([path, page])
    show_table(
        family_rows(families, names=asked, published=published),
        title=f"Family of rule {rule} around {base}; off: budget, and asked shares (RMS)",
    )
    if base == OWN_BASE and space.caps.latency_ms is not None:
        say("caps.latency_ms is not checked here: `cmt-search profile --latency` measures a member")
    for line in (
        *_refusals(solved),
        *_extrapolations(solved[rule]),
        *evidence["says"],
        f"family: {path}",
        f"figures: {page}",
    ):
        say(line)
    if earlier:
        say(f"the family that lay there before: {earlier}")


def _refusals(solved: "Mapping[str, SolvedFamily]") -> list[str]:
    return [
        f"no member of {name} at {budget}: {reason}"
        for name, one in solved.items()
        for budget, reason in one.missing.items()
    ]


def _named(budgets: str, *, names: str | None) -> dict[float, str]:
    """The name of each budget by its MACs."""
    from cmt_search.family import label_budgets

    if names is None and budgets == _PAPER_BUDGETS:
        names = _PAPER_NAMES
    return label_budgets(macs_of(budgets), names=names.split(",") if names else None)


def _extrapolations(solved: "SolvedFamily") -> list[str]:
    factors = [(m, solved.extrapolation[m.budget.macs]) for m in solved.family.members]
    return [
        f"{solved.name_of(member)} extrapolates: its growth from the base is {factor:,.1f} "
        "times the largest that the search measured"
        for member, factor in factors
        if factor > _EXTRAPOLATED
    ]


def _others(beside: str, *, rule: str) -> list[str]:
    wanted = [] if beside == "none" else [name.strip() for name in beside.split(",")]
    return [name for name in dict.fromkeys(wanted) if name and name != rule]


def _whole(solved: "SolvedFamily") -> dict[str, Any]:
    """A family as plain values."""
    from cmt_search.family import by_dimension

    rule = solved.family.rule
    members = []
    for member in solved.family.members:
        share_rmse = member.share_rmse(rule.shares)
        deviation = {
            "macs": round(member.budget_error, 5),
            "shares": None if share_rmse is None else round(share_rmse, 4),
        }
        named = {"name": solved.name_of(member), **member.to_dict()}
        factor = round(solved.extrapolation[member.budget.macs], 2)
        members.append({**named, "deviation": deviation, "extrapolation": factor})
    return {"rule": rule.name, "shares": by_dimension(rule.shares), "members": members}
