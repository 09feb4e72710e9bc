"""family: the best rule, solved at any budgets, beside others."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmt_search.cli.completing import bases, rules, rules_list
from cmt_search.cli.earlier import aside
from cmt_search.cli.family_choice import OWN_BASE
from cmt_search.cli.options import Json, RunArgument, Storage, macs_of
from cmt_search.errors import BudgetError
from cmt_search.scaling.shares import DIMENSIONS

if TYPE_CHECKING:
    from cmt_search.analysis import Analysis
    from cmt_search.scaling import Budget, Family, ScalingRule, Shares

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
    from cmt_search.cli.family_choice import chosen_rule
    from cmt_search.cli.family_page import family_rows, slug, write_family_page
    from cmt_search.export import write_family
    from cmt_search.study import load_study

    asked = _named(macs_of(budgets), names=names, text=budgets)
    study = load_study(run, storage=storage)
    folder, space, analysis = study.run, study.space, study.analysis
    known = {
        name: chosen_rule(name, base=base, analysis=analysis, space=space)
        for name in (rule, *_others(beside, rule=rule))
    }
    limits = [space.analytic_only().budget(macs) if base == OWN_BASE else macs for macs in asked]
    solved = {name: _solved(one, budgets=limits) for name, one in known.items()}
    families = [found for found, _ in solved.values()]
    own, missing = solved[rule]
    if not own.members:
        raise BudgetError(f"no budget can be met: {next(iter(missing.values()))}")
    evidence = _evidence(analysis, run=study.name)
    with aside(folder.family) as before:
        path = write_family(
            own,
            path=folder.family,
            names={macs: f"{slug(rule)}-{label}" for macs, label in asked.items()},
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
        others = [_whole(one, labels=asked) for one in families[1:]]
        files = {"family": str(path), "figures": str(page)}
        files |= {"earlier": str(earlier)} if earlier else {}
        told = {"missing": missing, "evidence": evidence, "beside": others}
        print_json({**files, **_whole(own, labels=asked), **told})
        return
    say_paths([path, page])
    show_table(
        family_rows(families, names=asked, published=published),
        title=f"Family of rule {rule} around {base}; off: budget, and asked shares (RMS)",
    )
    if base == OWN_BASE and space.caps.latency_ms is not None:
        say("caps.latency_ms is not checked here: `cmt-search profile --latency` measures a member")
    for line in (*_refusals(solved), *evidence["says"], f"family: {path}", f"figures: {page}"):
        say(line)
    if earlier:
        say(f"the family that lay there before: {earlier}")


def _refusals(solved: "dict[str, tuple[Family, dict[str, str]]]") -> list[str]:
    return [
        f"no member of {name} at {budget}: {reason}"
        for name, (_, reasons) in solved.items()
        for budget, reason in reasons.items()
    ]


def _named(budgets: Sequence[float], *, names: str | None, text: str) -> dict[float, str]:
    """What each budget is called.

    Raises:
        BudgetError: there are not as many names as budgets, or two are the same.
    """
    from cmt_search.format import format_quantity

    if names is None and text == _PAPER_BUDGETS:
        names = _PAPER_NAMES
    labels = names.split(",") if names else [format_quantity(macs) for macs in budgets]
    labels = [label.strip() for label in labels]
    if len(labels) != len(budgets):
        raise BudgetError(
            f"--names: {names} are {len(labels)}, and --budgets has {len(budgets)}; "
            "give each budget a name"
        )
    if odd := next((label for label in labels if not re.fullmatch(r"[\w.-]+", label)), None):
        raise BudgetError(f"--names: {odd!r} is no file name; use letters, digits, dots and dashes")
    if len(set(labels)) < len(labels):
        where = f"--names: {names}" if names else f"--budgets: two of {text}"
        raise BudgetError(f"{where} have the same name; write them apart by 1%, or give --names")
    return dict(sorted(zip(budgets, labels, strict=True)))


def _others(beside: str, *, rule: str) -> list[str]:
    wanted = [] if beside == "none" else [name.strip() for name in beside.split(",")]
    return [name for name in dict.fromkeys(wanted) if name and name != rule]


def _solved(
    rule: "ScalingRule", *, budgets: "Sequence[Budget | float]"
) -> "tuple[Family, dict[str, str]]":
    """The family, and why a budget has no member."""
    from cmt_search.format import format_quantity
    from cmt_search.scaling import Family, solve_budgets

    members, missing = solve_budgets(rule, budgets=budgets)
    reasons = {format_quantity(macs): reason for macs, reason in missing.items()}
    return Family(rule=rule, members=members), reasons


def _whole(family: "Family", *, labels: dict[float, str]) -> dict[str, Any]:
    """A family as plain values."""
    from cmt_search.cli.family_page import slug

    shares, name = family.rule.shares, family.rule.name
    members = []
    for member in family.members:
        share_rmse = member.share_rmse(shares)
        deviation = {
            "macs": round(member.budget_error, 5),
            "shares": None if share_rmse is None else round(share_rmse, 4),
        }
        called = f"{slug(name)}-{labels[member.budget.macs]}"
        members.append({"name": called, **member.to_dict(), "deviation": deviation})
    return {"rule": name, "shares": _by_dimension(shares), "members": members}


def _evidence(analysis: "Analysis", *, run: str) -> dict[str, Any]:
    """What the rule rests on, in words and numbers."""
    from cmt_search.analysis import (
        equivalence_set_summary,
        equivalence_set_text,
        explanation,
        headline,
        law_sentences,
        laws_of,
    )

    verdict = analysis.verdict
    if verdict is None:
        says = [analysis.no_verdict, *law_sentences(analysis)]
        return {"run": run, "status": None, "laws": laws_of(analysis), "says": says}
    return {
        "run": run,
        "status": verdict.status,
        "best_shares": _by_dimension(verdict.best),
        "difference_to_paper": round(verdict.difference.mean, 5),
        "interval": [round(verdict.difference.low, 5), round(verdict.difference.high, 5)],
        "equivalence_set": equivalence_set_summary(analysis),
        "detectable_difference": round(verdict.detectable, 5),
        "seed_sd": round(verdict.noise.sd, 5) if verdict.noise else None,
        "budget": int(verdict.budget),
        "laws": laws_of(analysis),
        "says": [
            headline(verdict),
            equivalence_set_text(analysis),
            *explanation(verdict),
            *law_sentences(analysis),
        ],
    }


def _by_dimension(shares: "Shares") -> dict[str, float]:
    return {name: round(v, 4) for name, v in zip(DIMENSIONS, shares.values, strict=True)}
