"""The text of a space file to start from, with comments."""

import json
from pathlib import Path

from cmt_search.cli.console import command

KINDS = ("rule", "shape", "pareto")


def space_text(
    file: Path, *, kind: str, dataset: str, root: str | None, side: int, classes: int, epochs: int
) -> str:
    """What `new` writes; `file` stands in the commands of its head."""
    base = "cmt_pico" if side <= 28 else "cmt_nano" if side <= 48 else "cmt_micro"
    start = side // 4 * 2  # half of what the images have, even: so resolution can add information
    grey = dataset.startswith("fashion")
    network = f"preset: {base}, resolution: {start}"
    network += ", in_chans: 1" * grey + f", num_classes: {classes}" * (classes != 10)
    images = f"name: {dataset}" + f", root: {json.dumps(root, ensure_ascii=False)}" * (
        root is not None
    )
    images += f", size: {side}" * (dataset == "folder")
    head = f"""\
# What:       {_WHAT[kind]}
# Images:     {dataset}, {side} px
# Command:    {command("validate", file)}    what it would train, and what it could find out
#             {command("calibrate", file)}   whether so short a training ranks networks
#             {command("run", file)}

kind: {kind}
# The network that grows. Half of the images' side leaves resolution something to add.
base: {{{network}}}
"""
    proxy = f"""\
proxy:
  dataset: {{{images}}}
  epochs: {epochs}  # of each training
  recipe: {{batch: {64 if epochs < 5 else 256}, lr: 0.004}}
"""
    return head + _KNOBS[kind].format(side=side, start=start) + proxy


_WHAT = {
    "rule": "which rule should depth, width and resolution grow by?",
    "shape": "which shape is best at each of four budgets, and on which rule do they lie?",
    "pareto": "which networks are best at their cost?",
}
_RULE = """\
knobs:
  resolution: {{step: 2, max: {side}}}  # beyond the images' own side, pixels are interpolated
# Rules are compared at these multiples of the base's MACs; below 3 they hardly differ.
budgets: {{times_base: [3, 6, 12]}}
tolerance: 0.02  # of the MACs; small networks come in coarse steps
sampler:
  name: design  # a lattice over the triangle, and the named rules
  lattice: 3  # more steps, more rules
  replicates: 4  # of the centroid and the paper's rule: they tell the noise
seeds: 2  # trainings of each network; `validate` says how many a difference needs
"""
_PARETO = """\
knobs:  # what is sampled; what is left out stays the base's
  depth: {{min: 4, max: 24}}  # blocks in all
  width: {{min: 8, max: 32, log: true}}  # channels of the first stage
  resolution: {{min: {start}, max: {side}, step: 2}}
  stage_ratio: {{min: 0.3, max: 0.8}}  # of added blocks, the part in stage 3
caps: {{macs: 50M}}  # larger networks are refused before they are trained
objectives: [top1, macs]
trials: 100
"""
_SHAPE = """\
knobs:  # what is sampled; width is solved, so that every network of a budget has its MACs
  depth: {{min: 4, max: 24, log: true}}  # blocks in all
  resolution: {{min: {start}, max: {side}, step: 2}}
  stage_ratio: {{min: 0.3, max: 0.8}}  # of added blocks, the part in stage 3
  width: {{min: 6}}  # channels of the first stage: bounds what is solved
# A rule needs four budgets that span 8 times; these are multiples of the base's MACs.
budgets: {{times_base: [1.5, 3, 6, 12]}}
tolerance: 0.02  # of the MACs; small networks come in coarse steps
sampler: {{name: tpe}}
trials: 64  # shapes at all budgets together
"""
_KNOBS = {"rule": _RULE, "shape": _SHAPE, "pareto": _PARETO}
