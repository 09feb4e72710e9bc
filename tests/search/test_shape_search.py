"""A shape search from the file to the rule, with accuracies from a formula."""

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from cmt_search.analysis import analyse
from cmt_search.analysis.report import render_report
from cmt_search.analysis.study import SHAPES, law_sentences
from cmt_search.arch import Arch
from cmt_search.cost import cost
from cmt_search.evaluation import CurvePoint, Fidelity, Measurement
from cmt_search.scaling import realised_shares
from cmt_search.search import RunDir, TrialRecord, read_trials, run_search
from cmt_search.space import SearchSpace, parse_space
from cmt_search.stats import PowerLaws

TEXT = """
kind: shape
base: {preset: cmt_nano, resolution: 16}
knobs:
  depth: {min: 4, max: 24, log: true}
  resolution: {min: 16, max: 40, step: 2}
  width: {min: 4}
budgets: {times_base: [1.5, 3, 6, 12]}
tolerance: 0.03
proxy: {epochs: 2}
%s
"""
PLAIN = "sampler: {name: sobol}\ntrials: 60"
HALVED = """
fidelities: {epochs: [1, 2], reduction_factor: 2}
sampler: {name: tpe, initial_points: 16}
trials: 32
"""
TRUTH = np.array([0.3, 0.4, 0.3])  # shares of the best rule


def space_of(more: str) -> SearchSpace:
    return parse_space(TEXT % more, source="shapes")


@dataclass(frozen=True)
class Formula:
    """Accuracy that falls off with the distance to the rule of `TRUTH`."""

    base: Arch

    def __call__(
        self, arch: Arch, *, fidelity: Fidelity, seed: int, folder: Path | None = None
    ) -> Measurement:
        shares, _ = realised_shares(self.base, arch)
        growth = float(np.log(cost(arch).macs / cost(self.base).macs))
        off = growth * (np.array(shares.values if shares else TRUTH) - TRUTH)
        digest = hashlib.sha256(f"{arch.key} {fidelity} {seed}".encode()).digest()
        noise = (digest[0] / 255 - 0.5) * 0.002
        top1 = 0.5 + 0.06 * growth - 0.05 * float(off @ off) - 0.05 / fidelity.epochs + noise
        point = CurvePoint(epoch=1, train_loss=1.0, loss=1 - top1, top1=top1)
        return Measurement(
            top1=top1, loss=1 - top1, seconds=0.0, seed=seed, curve=(point,) * fidelity.epochs,
            correct=b"", images=0, device="cpu",
        )  # fmt: skip


def searched(space: SearchSpace, folder: Path) -> tuple[TrialRecord, ...]:
    run = RunDir.create(folder, space_yaml=space.to_yaml(), fingerprint=space.fingerprint)
    outcome = run_search(run, space, partial(Formula, space.arch), executor="inline")
    assert outcome.failed == outcome.infeasible == 0
    return read_trials(run.path)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrialRecord, ...]:
    return searched(space_of(PLAIN), tmp_path_factory.mktemp("shapes") / "run")


def test_every_budget_gets_its_share_and_every_network_meets_it(
    plain: tuple[TrialRecord, ...],
) -> None:
    rungs = [record.rungs[-1].rung for record in plain]
    budgets = space_of(PLAIN).budget_macs
    assert [sum(r.budget == b for r in rungs) for b in budgets] == [15] * 4
    assert all(abs(r.macs / (r.budget or 0) - 1) <= 0.03 for r in rungs)
    for rung in rungs:
        assert rung.contributions is not None
        assert sum(rung.contributions) == pytest.approx(rung.log_macs_ratio)


def test_the_best_shapes_of_four_budgets_give_the_rule(plain: tuple[TrialRecord, ...]) -> None:
    base = cost(space_of(PLAIN).arch).macs
    found = analyse(plain, base_macs=base, shapes=True)
    assert found.no_verdict == SHAPES
    assert found.laws is not None
    power = found.laws.power
    assert isinstance(power, PowerLaws)
    assert len(power.optima) == 4
    assert np.abs(np.array(power.by_optima.local.values) - TRUTH).max() < 0.1
    said = " ".join(law_sentences(found))
    assert said.startswith("Power laws: ")
    assert "Base balance" not in said
    page = render_report(found, title="shapes")
    assert "Best measured shape at each budget" in page
    assert "Best shape at each budget" in page


def test_two_budgets_give_no_rule_and_say_why(plain: tuple[TrialRecord, ...]) -> None:
    base = cost(space_of(PLAIN).arch).macs
    two = [r for r in plain if r.params["budget"] < 2]
    said = law_sentences(analyse(two, base_macs=base, shapes=True))
    assert said[0].startswith("Power laws: not fitted. A power law needs 4 budgets or more")
    assert "Until then no rule follows from the shapes." in said[0]


def test_halving_compares_shapes_of_one_budget_only(tmp_path: Path) -> None:
    records = searched(space_of(HALVED), tmp_path / "run")
    seen: dict[float, list[float]] = {}
    stopped = 0
    for record in records:  # one slot: in the order of arrival
        first = record.rungs[0]
        at = seen.setdefault(first.rung.budget or 0, [])
        top1 = first.measurements[0].top1
        at.append(top1)
        best_half = len(at) < 2 or sum(other > top1 for other in at) < len(at) / 2
        assert record.state == ("complete" if best_half else "pruned")
        stopped += record.state == "pruned"
    assert len(seen) == 4
    assert 5 <= stopped <= 20


@pytest.mark.parametrize("kind", ["shape", "pareto"])
def test_networks_that_come_again_are_answered_from_the_study(kind: str, tmp_path: Path) -> None:
    text = """
kind: %s
base: {preset: cmt_pico}
knobs: {depth: {min: 4, max: 5}, resolution: {min: 14, max: 16, step: 2}}
tolerance: 0.1
sampler: {name: random}
trials: 14
%s
"""
    budgets = "budgets: {times_base: [2]}" if kind == "shape" else ""
    space = parse_space(text % (kind, budgets), source="x")
    run = RunDir.create(tmp_path / "run", space_yaml="", fingerprint=space.fingerprint)
    outcome = run_search(run, space, partial(Formula, space.arch), executor="inline")
    keys = {record.rungs[0].rung.arch.key for record in read_trials(run.path)}
    assert outcome.complete == 14
    assert outcome.jobs == len(keys) <= 4
    assert outcome.reused == 14 - len(keys)
