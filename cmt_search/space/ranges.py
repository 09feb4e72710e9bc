"""What a space's knobs and budgets come to: parameters to sample, and MACs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cmt_search.cost import cost
from cmt_search.space.candidate import Parameter
from cmt_search.space.sections import Knob, Knobs, Range

if TYPE_CHECKING:
    from cmt_search.space.model import SearchSpace

_WHOLE = ("depth", "width", "resolution", "stem_width", "neck_width")
_RATIOS = ("stage_ratio", "mlp_ratio", "qk_ratio")
FREE = (*_WHOLE, *_RATIOS)  # what a Pareto search samples
SHAPE = ("depth", "resolution", "stage_ratio")  # what a shape search samples


def ranges(knobs: Knobs, *, names: Sequence[str]) -> tuple[Parameter, ...]:
    """The knobs of these names that have a range.

    Raises:
        ValueError: a range has one end only.
    """
    found = []
    for name in (one for one in _WHOLE if one in names):
        knob: Knob = getattr(knobs, name)
        if knob.min is None and knob.max is None:
            continue
        if knob.min is None or knob.max is None:
            missing = "min" if knob.min is None else "max"
            raise ValueError(f"knobs.{name}.{missing}: is missing; a sampled range needs both ends")
        high = knob.min + (knob.max - knob.min) // knob.step * knob.step
        step = None if knob.log else knob.step
        found.append(
            Parameter(name=name, low=knob.min, high=high, step=step, log=knob.log, integer=True)
        )
    for name in (one for one in _RATIOS if one in names):
        ratio = getattr(knobs, name)
        if isinstance(ratio, Range):
            found.append(Parameter(name=name, low=ratio.min, high=ratio.max, step=ratio.step))
    return tuple(found)


def budgets_by_path(space: "SearchSpace") -> dict[str, float]:
    """The budgets in MACs, in the order of the file, by their place in it."""
    base, given = cost(space.arch).macs, space.budgets
    times = {f"budgets.times_base[{i}]": round(t * base) for i, t in enumerate(given.times_base)}
    return {f"budgets.macs[{i}]": macs for i, macs in enumerate(given.macs)} | times
