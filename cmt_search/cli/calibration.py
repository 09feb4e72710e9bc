"""The work of calibrate: the same networks at several training lengths, with several seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import track
from scipy import stats

from cmt_search.cli.wiring import factory_of
from cmt_search.errors import BudgetError, CmtSearchError
from cmt_search.evaluation import Fidelity, Measurement

if TYPE_CHECKING:
    from cmt_search.arch import Arch
    from cmt_search.space import SearchSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """One training length, compared with the longest."""

    epochs: int
    seconds: float  # mean of a training
    top1_rank: float  # Spearman correlation of the networks' mean top1 with the longest's
    loss_rank: float  # likewise for the loss at this length
    top1_sd: float  # between seeds, pooled
    loss_sd: float  # between seeds, pooled
    top1_noise: float  # SD between seeds / SD between networks
    loss_noise: float

    def shown(self) -> dict[str, str]:
        """The row for a table."""
        return {
            "epochs": str(self.epochs),
            "seconds": f"{self.seconds:.1f}",
            "rank corr. of top1": f"{self.top1_rank:.2f}",
            "rank corr. of loss": f"{self.loss_rank:.2f}",
            "seed SD of top1": f"{100 * self.top1_sd:.2f} points",
            "noise / spread, top1": f"{self.top1_noise:.2f}",
            "loss": f"{self.loss_noise:.2f}",
        }


def lengths(text: str, *, default: int) -> tuple[int, ...]:
    """Training lengths from "1,2,4"; by default a quarter, a half and all of the space's.

    Raises:
        CmtSearchError: they are no whole numbers of epochs, or fewer than two.
    """
    if not text:
        return tuple(sorted({max(1, default // 4), max(1, default // 2), default, 2 * default}))
    try:
        found = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        found = ()
    if len(found) < 2 or found[0] < 1:
        raise CmtSearchError(f"--epochs {text!r} are no two lengths to compare; write 1,2,4")
    return found


def calibrated(
    space: "SearchSpace",
    *,
    epochs: Sequence[int],
    networks: int,
    seeds: int,
    device: str | None,
    quiet: bool,
) -> tuple[Length, ...]:
    """Train every network at every length with every seed, here, one after the other."""
    archs = _networks(space, count=networks)
    evaluate = factory_of(space, device=device)()
    jobs = [(e, arch, s) for e in epochs for arch in archs for s in range(seeds)]
    console = Console(stderr=True, quiet=quiet)
    found = [
        evaluate(arch, fidelity=Fidelity(epochs=e, data_fraction=space.proxy.data_fraction), seed=s)
        for e, arch, s in track(jobs, description="calibrating", console=console)
    ]
    by_length = [
        found[i : i + len(archs) * seeds] for i in range(0, len(found), len(archs) * seeds)
    ]
    truth = _table(by_length[-1], "top1", seeds=seeds).mean(axis=1)
    return tuple(
        _length(e, measured, truth=truth, seeds=seeds)
        for e, measured in zip(epochs, by_length, strict=True)
    )


def _networks(space: "SearchSpace", *, count: int) -> "tuple[Arch, ...]":
    """Networks that differ in shape at the same cost: the named rules' at the largest budget."""
    if space.kind != "rule":
        raise CmtSearchError("calibrate compares rules; give the space file of a rule search")
    found: dict[str, Arch] = {}
    for shares in space.named_shares().values():
        try:
            arch = space.rule(shares).member(space.budget(space.budget_macs[-1])).arch
        except BudgetError:
            continue
        found[arch.key] = arch
    if len(found) < 3:
        raise CmtSearchError("fewer than three named rules reach the largest budget; widen knobs")
    return tuple(found.values())[:count]


def _length(
    epochs: int, measured: Sequence[Measurement], *, truth: np.ndarray, seeds: int
) -> Length:
    top1, loss = (_table(measured, name, seeds=seeds) for name in ("top1", "loss"))
    sds = {name: _pooled(t) for name, t in (("top1", top1), ("loss", loss))}
    return Length(
        epochs=epochs,
        seconds=float(np.mean([m.seconds for m in measured])),
        top1_rank=float(stats.spearmanr(top1.mean(axis=1), truth).statistic),
        loss_rank=float(stats.spearmanr(-loss.mean(axis=1), truth).statistic),
        top1_sd=sds["top1"],
        loss_sd=sds["loss"],
        top1_noise=sds["top1"] / max(float(top1.mean(axis=1).std(ddof=1)), 1e-12),
        loss_noise=sds["loss"] / max(float(loss.mean(axis=1).std(ddof=1)), 1e-12),
    )


def _table(measured: Sequence[Measurement], name: str, *, seeds: int) -> np.ndarray:
    """Shape: (networks, seeds)."""
    return np.array([getattr(m, name) for m in measured]).reshape(-1, seeds)


def _pooled(table: np.ndarray) -> float:
    return math.sqrt(float(table.var(axis=1, ddof=1).mean()))
