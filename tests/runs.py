"""Finished rule searches that several test modules share; their trainings are looked up."""

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import pytest

from cmt_search.arch import Arch
from cmt_search.cli import invoke
from cmt_search.cost import cost
from cmt_search.evaluation import CurvePoint, Fidelity, Measurement

RULE_SPACE = """
kind: rule
base: {preset: cmt_pico, in_chans: 1}
knobs: {resolution: {step: 2, max: 28}}
budgets: {times_base: [3, 8]}
tolerance: 0.02
sampler: {lattice: 3, replicates: 2}
"""


@dataclass(frozen=True, kw_only=True)
class Table:
    """An evaluator whose top1 follows from MACs alone, or from width; seeds scatter a little."""

    truth: Literal["macs", "width"]

    def __call__(
        self, arch: Arch, *, fidelity: Fidelity, seed: int, folder: Path | None = None
    ) -> Measurement:
        noise = ((seed * 7919 + int(arch.key, 16)) % 1000 / 1000 - 0.5) * 0.004
        if self.truth == "macs":
            top1 = 0.6 + 0.03 * (cost(arch).macs / 429_048) ** 0.5 + noise
        else:
            top1 = 0.3 + 0.06 * math.log(sum(stage.width for stage in arch.stages)) + noise
        point = CurvePoint(epoch=1, train_loss=1.0, loss=1 - top1, top1=top1)
        return Measurement(
            top1=top1,
            loss=1 - top1,
            curve=(point,),
            correct=b"\xff",
            images=8,
            seconds=0.1,
            seed=seed,
            device="cpu",
        )


def use_table(patch: pytest.MonkeyPatch, truth: Literal["macs", "width"]) -> None:
    """Let the commands look trainings up instead of training."""
    patch.setattr(
        "cmt_search.cli.wiring.factory_of", lambda space, *, device: partial(Table, truth=truth)
    )


def run_words(folder: Path, name: str = "tiny") -> list[str]:
    """The words of the command that begins or repeats a search in `folder`."""
    words = ["run", str(folder / "space.yaml"), "--runs", str(folder), "--name", name]
    return [*words, "--executor", "inline"]


def finish_run(folder: Path, truth: Literal["macs", "width"], *, space: str = RULE_SPACE) -> Path:
    """Search `space` to its end; its folder, which lies beside the space file."""
    (folder / "space.yaml").write_text(space)
    with pytest.MonkeyPatch.context() as patch:
        use_table(patch, truth)
        assert invoke([*run_words(folder), "--quiet"]) == 0
    return folder / "tiny"
