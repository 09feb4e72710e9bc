"""A family of a study: a rule, solved at budgets, and what the rule rests on."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cmt_search.arch import Arch
from cmt_search.cost import cost
from cmt_search.errors import BudgetError, SpaceError, suggestion
from cmt_search.export import Variant, Variants
from cmt_search.format import format_quantity, parse_quantity
from cmt_search.presets import PRESETS
from cmt_search.scaling import Family, Member, Shares, solve_budgets
from cmt_search.scaling.shares import DIMENSIONS
from cmt_search.space import SearchSpace

if TYPE_CHECKING:
    from cmt_search.analysis import Analysis

OWN_BASE = "run"


@dataclass(frozen=True, slots=True, kw_only=True)
class SolvedFamily:
    """The members of a rule by growing budget, and why a budget has none."""

    family: Family
    labels: Mapping[float, str]  # by budget in MACs
    missing: Mapping[str, str]  # reason by budget, as text
    extrapolation: Mapping[float, float]  # MACs growth over the largest measured one, by budget

    def name_of(self, member: Member) -> str:
        """Return the name of a member: the rule's and the budget's."""
        return f"{slug(self.family.rule.name)}-{self.labels[member.budget.macs]}"

    def variants(self, *, evidence: Mapping[str, Any]) -> Variants:
        """Return the members as variants.

        Raises:
            BudgetError: no budget has a member.
        """
        if not self.family.members:
            raise BudgetError(f"no budget can be met: {next(iter(self.missing.values()))}")
        rule = self.family.rule
        return Variants(
            Variant(
                name=self.name_of(member),
                arch=member.arch,
                provenance={
                    "rule": rule.name,
                    "shares": by_dimension(rule.shares),
                    "evidence": evidence,
                    "budget": int(member.budget.macs),
                    "realised": list(member.realised.values) if member.realised else None,
                    "extrapolation": round(self.extrapolation[member.budget.macs], 2),
                },
            )
            for member in self.family.members
        )


def solve_family(
    rule: str,
    *,
    labels: Mapping[float, str],
    base: str | Arch | None,
    analysis: "Analysis",
    space: SearchSpace,
) -> SolvedFamily:
    """Solve a rule of a study at budgets; `labels` names them by their MACs.

    `base`: what the rule scales, a preset or a network; None or "run" for the search's own, around
    which the caps of the space hold, other than latency.

    Raises:
        AnalysisError: there is no such rule, or no best one yet.
        SpaceError: the base is unknown.
    """
    from cmt_search.analysis.rule_choice import choose_rule

    network = _base(base)
    chosen = choose_rule(rule, base=network, analysis=analysis, space=space)
    limits = space.analytic_only()
    budgets = [macs if network else limits.budget(macs) for macs in labels]
    members, missing = solve_budgets(chosen, budgets=budgets)
    measured = space.budget_macs[-1] / cost(space.arch).macs if space.budget_macs else 1.0
    growth = {macs: macs / cost(chosen.base).macs for macs in labels}
    return SolvedFamily(
        family=Family(rule=chosen, members=members),
        labels=labels,
        missing={format_quantity(macs): reason for macs, reason in missing.items()},
        extrapolation={macs: times / measured for macs, times in growth.items()},
    )


def label_budgets(
    budgets: Sequence[str | float], *, names: Sequence[str] | None = None
) -> dict[float, str]:
    """Return the name of each budget by its MACs, increasing; by default the budget as text.

    Raises:
        BudgetError: a budget is no quantity; there are not as many names as budgets, or two are
            the same.
    """
    macs = []
    for i, budget in enumerate(budgets):
        try:
            macs.append(parse_quantity(budget))
        except ValueError as error:
            raise BudgetError(f"budgets[{i}]: {error}") from None
    if not macs:
        raise BudgetError("budgets: is empty; give MACs such as 8M")
    labels = [name.strip() for name in names] if names else [format_quantity(m) for m in macs]
    if len(labels) != len(macs):
        raise BudgetError(
            f"names: {', '.join(labels)} are {len(labels)}, and there are {len(macs)} budgets; "
            "give each budget a name"
        )
    if odd := next((label for label in labels if not re.fullmatch(r"[\w.-]+", label)), None):
        raise BudgetError(f"names: {odd!r} is no file name; use letters, digits, dots and dashes")
    if len(set(labels)) < len(labels):
        where = "names: two" if names else "budgets: two"
        raise BudgetError(f"{where} are the same; write them apart by 1%, or give other names")
    return dict(sorted(zip(macs, labels, strict=True)))


def collect_evidence(analysis: "Analysis", *, run: str) -> dict[str, Any]:
    """Return what a study says of its best rule, as plain values with sentences.

    Units: differences of top1, in 0..1; budget in MACs.
    """
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
        "best_shares": by_dimension(verdict.best),
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


def by_dimension(shares: Shares) -> dict[str, float]:
    """Return shares by dimension, rounded to four digits."""
    return {name: round(v, 4) for name, v in zip(DIMENSIONS, shares.values, strict=True)}


def slug(rule: str) -> str:
    """Return a rule's name as part of a file's: dwr(0.5) is dwr-0.5."""
    return re.sub(r"[^\w.]+", "-", rule).strip("-")


def _base(base: str | Arch | None) -> Arch | None:
    """Return the network that a rule scales; None: the search's own."""
    if base is None or isinstance(base, Arch):
        return base
    if base == OWN_BASE:
        return None
    if base not in PRESETS:
        raise SpaceError(f"base {base!r} is unknown; {suggestion(base, (OWN_BASE, *PRESETS))}")
    return PRESETS[base]
