"""Synthetic studies whose truth is known."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from cmt_search.arch import Arch, Stage
from cmt_search.evaluation import CurvePoint, Fidelity, Measurement
from cmt_search.scaling.shares import Shares
from cmt_search.search.types import RungRecord, TrialRecord
from cmt_search.space.candidates import Rung
from cmt_search.stats import simplex_grid
from cmt_search.stats.scaling_law import AdditiveLaw

Truth = Callable[[np.ndarray, float], float]
BASE_MACS = 500_000.0
PAPER = Shares(depth=0.17, width=0.52, resolution=0.31)
NAMED = {
    "cmt-paper": PAPER,
    "efficientnet": Shares(depth=0.26, width=0.28, resolution=0.46),
    "dwr": Shares(depth=0.1, width=0.8, resolution=0.1),
    "depth-only": Shares(depth=1.0, width=0.0, resolution=0.0),
    "width-only": Shares(depth=0.0, width=1.0, resolution=0.0),
    "resolution-only": Shares(depth=0.0, width=0.0, resolution=1.0),
    "uniform": Shares(depth=1 / 3, width=1 / 3, resolution=1 / 3),
}
LARGEST = math.log(12)


# A sum of power laws: E, and A_i and a_i of depth, width and resolution.
LAW = AdditiveLaw(
    floor=np.array(0.1), scales=np.array([0.12, 0.15, 0.15]), powers=np.array([0.8, 0.5, 0.6])
)


def flat(shares: np.ndarray, log_macs_ratio: float) -> float:
    """No rule differs."""
    return 0.6 + 0.06 * log_macs_ratio


def peak(shares: np.ndarray, log_macs_ratio: float) -> float:
    """Best inside the triangle, at (0.6, 0.2, 0.2)."""
    bowl = float(np.sum((shares - np.array([0.6, 0.2, 0.2])) ** 2))
    return flat(shares, log_macs_ratio) - 0.1 * (log_macs_ratio / LARGEST) ** 2 * bowl


def slope(shares: np.ndarray, log_macs_ratio: float) -> float:
    """An unbalanced base: only the first-order gain of width counts."""
    return flat(shares, log_macs_ratio) + 0.04 * log_macs_ratio / LARGEST * float(shares[1])


def additive(shares: np.ndarray, log_macs_ratio: float) -> float:
    """Every dimension takes away its own part of the error, as a power law."""
    return 1 - float(LAW.error((shares * log_macs_ratio)[None])[0])


def measurement(top1: float, *, seed: int = 0, epochs: int = 4) -> Measurement:
    """A measurement with a curve that ends at `top1`."""
    curve = tuple(
        CurvePoint(
            epoch=e, train_loss=2.0 / e, loss=1.8 / e, top1=top1 * (1 - 0.5**e) / (1 - 0.5**epochs)
        )
        for e in range(1, epochs + 1)
    )
    return Measurement(
        top1=top1,
        loss=1 - top1,
        curve=curve,
        correct=b"",
        images=2000,
        seconds=3.0,
        seed=seed,
        device="cpu",
    )


def rung(
    *,
    number: int = 0,
    macs: int = 1000,
    budget: float | None = None,
    epochs: int = 4,
    size: int = 16,
) -> Rung:
    """A rung whose network is decided by `number` and `size`."""
    stage = Stage(depth=2, width=16, heads=1)
    arch = Arch(resolution=size, stem_width=8, stages=(stage,), neck_width=64 + number)
    return Rung(
        arch=arch,
        fidelity=Fidelity(epochs=epochs),
        macs=macs,
        params=10 * macs,
        activations=macs // 10,
        budget=budget,
    )


def record(
    number: int,
    *rungs: tuple[Rung, Sequence[Measurement]],
    state: str = "complete",
    name: str = "lattice",
    reason: str | None = None,
    shares: Shares | None = None,
) -> TrialRecord:
    """A trial with these rungs, nothing of it reused."""
    return TrialRecord(
        number=number,
        state=state,  # type: ignore[arg-type]
        name=name,
        params={},
        shares=shares.values if shares else None,
        rungs=tuple(
            RungRecord(rung=r, measurements=tuple(m), reused=(False,) * len(m)) for r, m in rungs
        ),
        reason=reason,
        is_infeasible=(reason or "").startswith("infeasible: "),
        seconds=3.0 * sum(len(m) for _, m in rungs),
    )


def rule_study(
    truth: Truth,
    *,
    noise: float,
    lattice: float = 0.0005,
    seeds: int = 2,
    order: int = 3,
    budgets: Sequence[float] = (3.0, 6.0, 12.0),
    seed: int = 0,
) -> tuple[TrialRecord, ...]:
    """A finished rule search: a simplex lattice and the named rules, at multiples of the base."""
    rng = np.random.default_rng(seed)
    points = {
        f"lattice {i}": Shares(depth=d, width=w, resolution=r)
        for i, (d, w, r) in enumerate(simplex_grid(order).tolist())
    }
    trials = []
    for number, (name, shares) in enumerate({**points, **NAMED}.items()):
        rungs = []
        for step, times in enumerate(budgets):
            real = np.array(shares.values) + rng.normal(0, 0.015, 3)
            real /= real.sum()
            realised = Shares(
                **dict(zip(("depth", "width", "resolution"), real.tolist(), strict=True))
            )
            macs = times * BASE_MACS
            one = rung(number=number, macs=int(macs), budget=macs, size=16 + 2 * step)
            level = truth(real, math.log(times)) + rng.normal(0, lattice)
            seen = [measurement(level + rng.normal(0, noise), seed=k) for k in range(seeds)]
            rungs.append((replace(one, realised=realised), seen))
        trials.append(record(number, *rungs, name=name, shares=shares))
    return tuple(trials)


def with_images(records: Sequence[TrialRecord], *, images: int) -> tuple[TrialRecord, ...]:
    """The study with measurements that keep which of the validation images were right."""
    hardness = np.random.default_rng(0).permutation(images) / images

    def seen(one: Measurement) -> Measurement:
        right = hardness < one.top1
        return replace(
            one, correct=np.packbits(right).tobytes(), images=images, top1=float(right.mean())
        )

    return tuple(
        replace(
            trial,
            rungs=tuple(
                replace(r, measurements=tuple(seen(m) for m in r.measurements)) for r in trial.rungs
            ),
        )
        for trial in records
    )


def free_study(count: int, *, seed: int = 0) -> tuple[TrialRecord, ...]:
    """A Pareto search of so many trials: some stopped early, some failed."""
    rng = np.random.default_rng(seed)
    trials = []
    for number in range(count):
        depth, width = int(rng.integers(2, 12)), 8 * int(rng.integers(2, 40))
        macs = 2_000 * depth * width + 17 * number
        top1 = 0.9 - 3 / math.log(macs) ** 0.5 + float(rng.normal(0, 0.02)) + 0.4
        stage = Stage(depth=depth, width=width, heads=1)
        arch = Arch(resolution=32, stem_width=8, stages=(stage,), neck_width=64 + number)
        steps = [
            replace(rung(macs=macs, epochs=epochs), arch=arch, params=20 * width**2 + number)
            for epochs in (1, 4)
        ]
        kind = rng.choice(["complete", "pruned", "failed"], p=[0.7, 0.25, 0.05])
        measured = {"complete": 2, "pruned": 1, "failed": 0}[str(kind)]
        rungs = [
            (step, [measurement(top1 - 0.1 * (1 - i), epochs=step.fidelity.epochs)])
            if i < measured
            else (step, [])
            for i, step in enumerate(steps)
        ]
        one = record(number, *rungs, state=str(kind), name="sampled")
        reason = f"loss is NaN in epoch {number % 9}" if kind == "failed" else None
        begun = 1.7e9 + 30.0 * (number // 4)
        trials.append(
            replace(
                one,
                params={"depth": depth, "width": width},
                reason=reason,
                started=begun,
                ended=begun + 25.0,
            )
        )
    return tuple(trials)
