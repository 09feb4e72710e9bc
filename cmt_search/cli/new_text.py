"""The text of a space file to start from, with comments."""

import json
from dataclasses import dataclass
from pathlib import Path

from cmt_search.cli.console import command
from cmt_search.format import format_quantity

KINDS = ("rule", "shape", "pareto")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a new space file is made of; None: the default of its kind."""

    kind: str
    dataset: str
    root: str | None
    side: int  # pixels
    classes: int
    epochs: int
    budgets: tuple[float, ...] | None = None  # MACs
    trials: int | None = None
    seeds: int | None = None
    data_fraction: float | None = None

    @property
    def start(self) -> int:
        """Resolution of the base: half of the images', even, so that more pixels add something."""
        return self.side // 4 * 2


def space_text(file: Path, answers: Answers) -> str:
    """Return what `new` writes; `file` stands in the commands of its head."""
    return (
        f"""\
# What:       {_WHAT[answers.kind]}
# Images:     {answers.dataset}, {answers.side} px
# Command:    {command("validate", file)}    what it would train, and what it could find out
#             {command("calibrate", file)}   whether so short a training ranks networks
#             {command("run", file)}

kind: {answers.kind}
# The network that grows. Half of the images' side leaves resolution something to add.
base: {{{_base(answers)}}}
"""
        + _KNOBS[answers.kind].format(side=answers.side, start=answers.start)
        + _budgets(answers)
        + _size(answers)
        + _proxy(answers)
    )


def _base(answers: Answers) -> str:
    side, grey = answers.side, answers.dataset.startswith("fashion")
    preset = "cmt_pico" if side <= 28 else "cmt_nano" if side <= 48 else "cmt_micro"
    text = f"preset: {preset}, resolution: {answers.start}" + ", in_chans: 1" * grey
    return text + f", num_classes: {answers.classes}" * (answers.classes != 10)


def _budgets(answers: Answers) -> str:
    """The budgets, and how exactly they are met; a Pareto search has a cap instead."""
    if answers.kind == "pareto":
        return ""
    if answers.budgets is None:
        text = _TIMES_BASE[answers.kind]
    else:
        macs = ", ".join(format_quantity(value) for value in answers.budgets)
        text = f"budgets: [{macs}]  # MACs, above those of the base\n"
    return text + "tolerance: 0.02  # of the MACs; small networks come in coarse steps\n"


def _size(answers: Answers) -> str:
    """Sampler, number of trials and seeds."""
    text = _SAMPLER[answers.kind]
    trials = answers.trials or _TRIALS[answers.kind]
    if trials is not None:
        text += f"trials: {trials}\n"
    seeds = answers.seeds or _SEEDS[answers.kind]
    if seeds is not None:
        text += f"seeds: {seeds}  # trainings of each network; `validate` says how many to use\n"
    return text


def _proxy(answers: Answers) -> str:
    images = f"name: {answers.dataset}"
    if answers.root is not None:
        images += f", root: {json.dumps(answers.root, ensure_ascii=False)}"
    images += f", size: {answers.side}" * (answers.dataset == "folder")
    fraction = answers.data_fraction
    part = "" if fraction is None else f"  data_fraction: {fraction:g}  # of the training images\n"
    return f"""\
proxy:
  dataset: {{{images}}}
  epochs: {answers.epochs}  # of each training
{part}  recipe: {{batch: {64 if answers.epochs < 5 else 256}, lr: 0.004}}
"""


_WHAT = {
    "rule": "which rule should depth, width and resolution grow by?",
    "shape": "which shape is best at each of four budgets, and on which rule do they lie?",
    "pareto": "which networks are best at their cost?",
}
_RULE = """\
knobs:
  resolution: {{step: 2, max: {side}}}  # beyond the images' own side, pixels are interpolated
"""
_PARETO = """\
knobs:  # what is sampled; what is left out stays the base's
  depth: {{min: 4, max: 24}}  # blocks in all
  width: {{min: 8, max: 32, log: true}}  # channels of the first stage
  resolution: {{min: {start}, max: {side}, step: 2}}
  stage_ratio: {{min: 0.3, max: 0.8}}  # of added blocks, the part in stage 3
caps: {{macs: 50M}}  # larger networks are refused before they are trained
objectives: [top1, macs]
"""
_SHAPE = """\
knobs:  # what is sampled; width is solved, so that every network of a budget has its MACs
  depth: {{min: 4, max: 24, log: true}}  # blocks in all
  resolution: {{min: {start}, max: {side}, step: 2}}
  stage_ratio: {{min: 0.3, max: 0.8}}  # of added blocks, the part in stage 3
  width: {{min: 6}}  # channels of the first stage: bounds what is solved
"""
_KNOBS = {"rule": _RULE, "shape": _SHAPE, "pareto": _PARETO}
_TIMES_BASE = {
    "rule": """\
# Rules are compared at these multiples of the base's MACs; below 3 they hardly differ.
budgets: {times_base: [3, 6, 12]}
""",
    "shape": """\
# A rule needs four budgets that span 8 times; these are multiples of the base's MACs.
budgets: {times_base: [1.5, 3, 6, 12]}
""",
}
_SAMPLER = {
    "rule": """\
sampler:
  name: design  # a lattice over the triangle, and the named rules
  lattice: 3  # more steps, more rules
  replicates: 4  # of the centroid and the paper's rule, to estimate noise
""",
    "shape": "sampler: {name: tpe}\n",
    "pareto": "",
}
_TRIALS = {"rule": None, "shape": 64, "pareto": 100}  # None: those of the design
_SEEDS = {"rule": 2, "shape": None, "pareto": None}
