"""Data of the tabular benchmark: its rules, their networks and their scores."""

import csv
import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from tabular.table import TabularBenchmark

from cmt_search.arch import Arch
from cmt_search.scaling import Shares
from cmt_search.space import Rung, SearchSpace, parse_space

BACKWARD = 3  # MACs of a training step over those of the forward pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule of the table, with its member at each budget."""

    name: str
    shares: Shares  # asked for
    members: dict[float, Rung]  # by budget, trained for the longest

    @property
    def largest(self) -> Rung:
        """The member at the largest budget."""
        return self.members[max(self.members)]


@dataclass(frozen=True, kw_only=True, eq=False)
class BenchmarkData:
    """The table, with the rules and networks that it was made of."""

    path: Path  # of the CSV file
    table: TabularBenchmark
    space: SearchSpace  # that it was made by
    rules: tuple[Rule, ...]
    images: int  # per epoch
    by_key: dict[str, Rung] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read fashion.csv and fashion.json beside it."""
        about = json.loads(path.with_suffix(".json").read_text())
        space = parse_space(about["space"], source=str(path.with_suffix(".json")))
        table = TabularBenchmark.read(path)
        archs = {key: Arch.from_dict(values) for key, values in about["networks"].items()}
        members: dict[str, dict[float, Rung]] = {}
        shares = {}
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                rung = _rung(row, arch=archs[row["network"]], space=space, last=table.lengths[-1])
                members.setdefault(row["rule"], {})[float(row["budget"])] = rung
                shares[row["rule"]] = _shares(row, prefix="share")
        return cls(
            path=path,
            table=table,
            space=space,
            rules=tuple(Rule(name=n, shares=shares[n], members=members[n]) for n in members),
            images=about["train_images"],
            by_key={rung.arch.key: rung for each in members.values() for rung in each.values()},
        )

    @property
    def budgets(self) -> tuple[float, ...]:
        """MACs, growing."""
        return tuple(sorted(self.rules[0].members))

    @property
    def lengths(self) -> tuple[int, int]:
        """The shortest and the longest training."""
        return self.table.lengths[0], self.table.lengths[-1]

    @cached_property
    def largest(self) -> tuple[str, ...]:
        """Keys of the networks at the largest budget, each once, in the order of the rules."""
        return tuple(dict.fromkeys(rule.largest.arch.key for rule in self.rules))

    def top1(self, key: str, *, seed: int, epochs: int | None = None) -> float:
        """Top1 of one training."""
        epochs = epochs or self.lengths[-1]
        return self.table.measurement(key, epochs=epochs, seed=seed).top1

    def scores(self, seeds: tuple[int, ...]) -> dict[str, float]:
        """Mean top1 in points of each network of the largest budget over some seeds."""
        return {
            key: 100 * float(np.mean([self.top1(key, seed=seed) for seed in seeds]))
            for key in self.largest
        }

    def macs(self, keys: "tuple[str, ...] | None" = None) -> float:
        """MACs of training networks for longest from one seed: all, or those named."""
        networks = self.by_key if keys is None else keys
        return sum(self.training_macs(key, epochs=self.lengths[-1]) for key in networks)

    def training_macs(self, key: str, *, epochs: int) -> float:
        """MACs of a training: forward and backward passes of all its images."""
        return float(self.by_key[key].macs) * BACKWARD * self.images * epochs


@dataclass(frozen=True, slots=True, kw_only=True)
class VarianceSummary:
    """Variance components of top1 at the largest budget, over all seeds. Units: points."""

    networks: int
    seeds: int
    spread: float  # best mean less worst
    between: float  # SD of the networks' true means: of the measured ones, less their noise
    within: float  # SD between the seeds of a network
    blind: float  # expected regret of a network drawn at random
    reliability: float  # of one training's top1: the part of its variance that is the network's

    @property
    def error(self) -> float:
        """Standard error of a network's mean over all seeds."""
        return self.within / float(np.sqrt(self.seeds))


def variance_summary(data: BenchmarkData) -> VarianceSummary:
    """Separate networks from seeds by analysis of variance."""
    seeds = data.table.seeds
    values = np.array([[100 * data.top1(key, seed=s) for s in seeds] for key in data.largest])
    means, within = values.mean(axis=1), float(values.var(axis=1, ddof=1).mean())
    between = max(0.0, float(means.var(ddof=1)) - within / len(seeds))
    return VarianceSummary(
        networks=len(means),
        seeds=len(seeds),
        spread=float(np.ptp(means)),
        between=between**0.5,
        within=within**0.5,
        blind=float(means.max() - means.mean()),
        reliability=between / (between + within) if between + within else 0.0,
    )


def _rung(row: dict[str, str], *, arch: Arch, space: SearchSpace, last: int) -> Rung:
    return Rung(
        arch=arch,
        fidelity=space.proxy.fidelity(arch, last),
        macs=int(row["macs"]),
        params=int(row["params"]),
        activations=int(row["activations"]),
        budget=float(row["budget"]),
        realised=_shares(row, prefix="realised"),
        log_macs_ratio=float(row["growth"]),
    )


def trained_for(rung: Rung, epochs: int) -> Rung:
    """The same network, trained for so many epochs."""
    return replace(rung, fidelity=replace(rung.fidelity, epochs=epochs))


def _shares(row: dict[str, str], *, prefix: str) -> Shares:
    depth, width, side = (float(row[f"{prefix}_{n}"]) for n in ("depth", "width", "resolution"))
    return Shares(depth=depth, width=width, resolution=side)
