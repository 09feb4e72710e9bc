"""Families beside each other: the rows of a table, and a page of figures."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cmt_search.presets import PRESETS, PUBLISHED

if TYPE_CHECKING:
    from cmt_search.analysis import Analysis
    from cmt_search.arch import Arch
    from cmt_search.scaling import Family, Member, ScalingRule

_NONE = "-"


def family_rows(
    families: "Sequence[Family]", *, names: Mapping[float, str], published: bool
) -> Iterator[dict[str, str]]:
    """By growing budget the members of every rule; then, if asked for, the paper's variants.

    `names` tells what budgets, in MACs, are called.
    """
    from cmt_search.family import slug

    for budget, label in names.items():
        for family in families:
            for member in family.members:
                if member.budget.macs == budget:
                    yield _member_row(f"{slug(family.rule.name)}-{label}", member, rule=family.rule)
    for name in PUBLISHED if published else ():
        yield {**_row(f"{name} (published)", PRESETS[name]), "shares d, w, r": _NONE, "off": _NONE}


def write_family_page(
    path: Path, *, families: "Sequence[Family]", analysis: "Analysis", published: bool
) -> Path:
    """Draw what each rule grows, and the triangle: with its surface where there is one."""
    from cmt_search.analysis import (
        draw_family,
        draw_rules_map,
        draw_triangle,
        family_data,
        triangle_data,
        write_figures,
    )

    networks = {
        family.rule.name: [member.arch for member in family.members]
        for family in families
        if family.members
    }
    variants = {name: PRESETS[name] for name in PUBLISHED} if published else {}
    data = family_data(networks, published=variants, base=families[0].rule.base)
    if analysis.verdict is None:
        triangle = draw_rules_map({family.rule.name: family.rule.shares for family in families})
    else:
        triangle = draw_triangle(triangle_data(analysis))
    title = f"Family of rule {families[0].rule.name}"
    return write_figures(path, [draw_family(data), triangle], title=title)


def _member_row(name: str, member: "Member", *, rule: "ScalingRule") -> dict[str, str]:
    share_rmse = member.share_rmse(rule.shares)
    realised = member.realised.values if member.realised else ()
    return {
        **_row(name, member.arch),
        "shares d, w, r": ", ".join(f"{share:.2f}" for share in realised) or _NONE,
        "off": f"{member.budget_error:+.1%}"
        + ("" if share_rmse is None else f", {share_rmse:.2f}"),
    }


def _row(name: str, arch: "Arch") -> dict[str, str]:
    from cmt_search.cost import cost

    measured = cost(arch)
    return {
        "member": name,
        "MACs": f"{measured.macs:,}",
        "params": f"{measured.params:,}",
        "px": str(arch.resolution),
        "stem": str(arch.stem_width),
        "widths": "-".join(str(s.width) for s in arch.stages),
        "depths": "-".join(str(s.depth) for s in arch.stages),
    }
