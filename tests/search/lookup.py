"""A search space and an evaluator that answer in microseconds."""

import hashlib
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cmt_search.arch import Arch, Stage
from cmt_search.errors import BudgetError, DataError
from cmt_search.evaluation import (
    CurvePoint,
    Fidelity,
    Measurement,
    TrainingFailed,
    evaluator_threads,
)
from cmt_search.scaling.shares import Shares
from cmt_search.search.run_dir import RunDir
from cmt_search.search.types import TrialRecord
from cmt_search.space.candidates import Candidate, Parameter, Rung

NAMED = {
    "cmt-paper": Shares(depth=0.17, width=0.52, resolution=0.31),
    "depth-only": Shares(depth=1, width=0, resolution=0),
    "dwr": Shares(depth=0.1, width=0.8, resolution=0.1),
}


@dataclass(frozen=True, kw_only=True)
class FakeSampler:
    """As in a space file."""

    name: str = "design"
    lattice: int = 2
    replicates: int = 2
    augmented: bool = False
    initial_points: int | None = 0


@dataclass(frozen=True, kw_only=True)
class FakeSpace:
    """A rule search: two parameters, coarse networks that coincide now and then."""

    kind: Literal["rule", "shape", "pareto"] = "rule"
    objectives: tuple[str, ...] = ("top1",)
    trials: int | None = None
    seeds: int = 1
    seed: int = 7
    sampler: FakeSampler = field(default_factory=FakeSampler)
    reduction_factor: int | None = None
    fingerprint: str = "f00d"
    epochs: tuple[int, ...] = (1, 2)  # of the rungs
    grid: int = 8  # networks per parameter; few make twins
    infeasible_above: float = 2.0  # depth's share

    def analytic_only(self) -> "FakeSpace":
        return self

    def parameters(self) -> tuple[Parameter, ...]:
        return tuple(Parameter(name=name, low=0, high=1) for name in ("depth", "width"))

    def candidate(self, params: Mapping[str, float | int], name: str | None = None) -> Candidate:
        depth, width = params["depth"], params["width"]
        if depth > self.infeasible_above:
            raise BudgetError(f"depth={depth:.2f} leaves no network; lower it")
        rungs = tuple(self._rung(depth, width, epochs=epochs) for epochs in self.epochs)
        rest = Shares(depth=depth, width=width, resolution=1 - depth - width)
        return Candidate(
            name=name or "nameless", rungs=rungs, shares=rest if self.kind == "rule" else None
        )

    def params_of_shares(self, shares: Shares) -> dict[str, float]:
        return {"depth": shares.depth, "width": shares.width}

    def named_shares(self) -> Mapping[str, Shares]:
        return NAMED

    def _rung(self, depth: float, width: float, *, epochs: int) -> Rung:
        blocks, channels = 1 + round(depth * self.grid), 8 * (1 + round(width * self.grid))
        stage = Stage(depth=blocks, width=channels, heads=1)
        arch = Arch(resolution=16, stem_width=8, stages=(stage,), neck_width=8, num_classes=10)
        macs = blocks * channels**2
        return Rung(
            arch=arch,
            fidelity=Fidelity(epochs=epochs),
            macs=macs,
            params=channels**2,
            activations=blocks * channels,
            budget=2.0 * epochs,
            realised=Shares(depth=depth, width=width, resolution=1 - depth - width),
        )


def measure(arch: Arch, *, fidelity: Fidelity, seed: int, **changes: float) -> Measurement:
    """What the table holds: any number, but always the same."""
    digest = hashlib.sha256(f"{arch.key} {fidelity} {seed}".encode()).digest()
    top1 = digest[0] / 255
    known = {"top1": top1, "loss": 2 - top1, "seconds": 0.5, "seed": seed, **changes}
    curve = tuple(
        CurvePoint(epoch=e + 1, train_loss=2.0, loss=2 - top1, top1=top1)
        for e in range(fidelity.epochs)
    )
    return Measurement(curve=curve, correct=digest, images=256, device="cpu", **known)


@dataclass(frozen=True, kw_only=True)
class LookupEvaluator:
    """Answers from the table; misbehaves for networks of the blocks named."""

    log: Path | None = None  # a line per job that began, and one per job that ended
    wait: float = 0.0  # seconds per job
    raises: int | None = None
    dies: int | None = None
    dies_once: int | None = None
    misfits: int | None = None
    hangs: int | None = None
    deaf: bool = False  # when it hangs, also to signals
    keeps: bool = False  # a mark in the folder for checkpoints

    def __call__(
        self, arch: Arch, *, fidelity: Fidelity, seed: int, folder: Path | None = None
    ) -> Measurement:
        blocks = arch.stages[0].depth
        self._note("begin", arch, fidelity, seed)
        if self.keeps and folder is not None:
            if (folder / "mark").exists():
                self._note("found", arch, fidelity, seed)
            folder.mkdir(exist_ok=True)
            (folder / "mark").touch()
        time.sleep(self.wait)
        if blocks == self.hangs:
            if self.deaf:
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
            time.sleep(600)
        if blocks == self.raises:
            raise ZeroDivisionError("the lookup broke")
        if blocks == self.misfits:
            raise DataError("the images have 1 channel, the network takes 3; set in_chans: 1")
        if blocks == self.dies or (blocks == self.dies_once and self._first_time()):
            os._exit(3)
        self._note("end", arch, fidelity, seed)
        return measure(arch, fidelity=fidelity, seed=seed)

    def _first_time(self) -> bool:
        assert self.log is not None
        mark = self.log.with_suffix(".died")
        if mark.exists():
            return False
        mark.touch()
        return True

    def _note(self, what: str, arch: Arch, fidelity: Fidelity, seed: int) -> None:
        if self.log is None:
            return
        line = json.dumps([what, arch.key, fidelity.epochs, seed, os.getpid()])
        with self.log.open("a") as file:
            file.write(line + "\n")


@dataclass(frozen=True, kw_only=True)
class LookupFactory:
    """Makes lookup evaluators, and counts them in the log."""

    log: Path | None = None
    wait: float = 0.0
    raises: int | None = None
    dies: int | None = None
    dies_once: int | None = None
    misfits: int | None = None
    hangs: int | None = None
    deaf: bool = False
    keeps: bool = False
    broken: bool = False
    decode: float = 0.0  # seconds of the factory

    def __call__(self) -> LookupEvaluator:
        if self.broken:
            raise DataError("data/images is missing; unpack the archive there")
        if self.log is not None:
            with self.log.open("a") as file:
                line = ["made", "", evaluator_threads(), os.nice(0), os.getpid()]
                file.write(json.dumps(line) + "\n")
        time.sleep(self.decode)
        return LookupEvaluator(
            log=self.log,
            wait=self.wait,
            raises=self.raises,
            dies=self.dies,
            dies_once=self.dies_once,
            misfits=self.misfits,
            hangs=self.hangs,
            deaf=self.deaf,
            keeps=self.keeps,
        )


Training = tuple[str, int, int]  # network, epochs, seed


def trained(trials: Iterable[TrialRecord]) -> Counter[Training]:
    """How often a study counts a training, by network, epochs and seed."""
    return Counter(
        (rung.rung.arch.key, rung.rung.fidelity.epochs, m.seed)
        for trial in trials
        for rung in trial.rungs
        for m, reused in zip(rung.measurements, rung.reused, strict=True)
        if not reused
    )


Line = tuple[str, str, int, int, int]  # what, key, epochs, seed, process


def read_log(log: Path) -> list[Line]:
    """The lines that evaluators wrote."""
    if not log.exists():
        return []
    return [tuple(json.loads(line)) for line in log.read_text().splitlines()]


def alive(process: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def nan(arch: Arch, *, fidelity: Fidelity, seed: int, folder: Path | None = None) -> Measurement:
    """An evaluator whose loss diverges."""
    return measure(arch, fidelity=fidelity, seed=seed, loss=float("nan"))


def out_of_memory(
    arch: Arch, *, fidelity: Fidelity, seed: int, folder: Path | None = None
) -> Measurement:
    """An evaluator that fails as trainings do."""
    raise TrainingFailed("out of memory at batch 64; lower proxy.batch")


def open_run(path: Path) -> RunDir:
    """Open the run in a folder; create it, of a `FakeSpace`, if there is none."""
    if (path / "run.json").exists():
        return RunDir.open(path)
    return RunDir.create(path, space_yaml="", fingerprint=FakeSpace.fingerprint)
