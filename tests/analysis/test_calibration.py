"""A calibration on trainings whose truth is known: what ranks, what it costs, what is noise."""

import math
from dataclasses import replace

import numpy as np
import pytest

from cmt_search.analysis import Calibration, analyse_calibration
from cmt_search.errors import AnalysisError
from cmt_search.evaluation import Fidelity
from cmt_search.scaling.shares import DIMENSIONS, Shares
from cmt_search.search.types import TrialRecord
from tests.analysis.studies import BASE_MACS, measurement, record, rung

EPOCHS = (1, 2, 4, 16)
SHARES = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1 / 3, 1 / 3, 1 / 3), (0.2, 0.5, 0.3), (0.5, 0.5, 0)]


def study(
    *,
    noise: float = 0.002,
    spread: float = 0.02,
    blind: tuple[int, ...] = (),  # lengths at which all networks look alike
    budgets: tuple[int, ...] = (3, 9),
    seed: int = 0,
) -> list[TrialRecord]:
    """Twelve networks, two seeds; the longer a training, the better it tells them apart."""
    rng = np.random.default_rng(seed)
    records = []
    for times in budgets:
        for i, shares in enumerate(SHARES):
            worth = spread * rng.normal()
            number = 100 * times + i
            one = rung(number=number, macs=int(times * BASE_MACS), budget=times * BASE_MACS)
            one = replace(one, realised=Shares(**dict(zip(DIMENSIONS, shares, strict=True))))
            steps = []
            for epochs in EPOCHS:
                level = 0.5 + 0.03 * math.log(epochs) + (0 if epochs in blind else worth)
                seen = [
                    replace(
                        measurement(level + noise * rng.normal(), seed=k, epochs=epochs),
                        seconds=float(epochs),
                    )
                    for k in range(2)
                ]
                steps.append((replace(one, fidelity=Fidelity(epochs=epochs)), seen))
            records.append(record(number, *steps))
    return records


def analysed(records: list[TrialRecord], **more: object) -> Calibration:
    return analyse_calibration(records, **more)  # type: ignore[arg-type]


def test_the_cheapest_training_that_ranks_like_the_longest_is_chosen() -> None:
    found = analysed(study(blind=(1,)))
    assert [row.seconds for row in found.rows] == [1, 2, 4, 16]
    assert found.choice is not None
    assert EPOCHS[found.choice.rung] == 2
    assert found.rows[0].top1 is not None
    assert not found.rows[0].top1.overall.positive
    assert found.rows[-1].top1 is None
    assert found.rows[-1].regret == 0
    assert (found.networks, found.seeds) == (12, 2)


def test_the_tolerance_is_the_noise_of_a_difference_of_two_means() -> None:
    found = analysed(study(noise=0.01, seed=3))
    sd = found.rows[-1].top1_noise.seed_sd
    assert sd == pytest.approx(0.01, rel=0.5)
    assert found.tolerance == pytest.approx(sd)  # two seeds: sd * sqrt(2 / 2)


def test_nothing_is_chosen_where_no_cheap_training_ranks_networks() -> None:
    assert analysed(study(blind=(1, 2, 4))).choice is None


def test_networks_that_do_not_differ_make_no_choice_by_luck() -> None:
    chosen = [analysed(study(spread=0, noise=0.01, seed=s)).choice is not None for s in range(6)]
    assert sum(chosen) <= 1


def test_the_more_reliable_metric_is_named() -> None:
    records = study(noise=0.001)
    noisy = [
        replace(
            r,
            rungs=tuple(
                replace(
                    rung,
                    measurements=tuple(
                        replace(m, loss=1 + (i % 2) * (-1) ** r.number)
                        for i, m in enumerate(rung.measurements)
                    ),
                )
                for rung in r.rungs
            ),
        )
        for r in records
    ]
    assert analysed(noisy).metric == "top1"
    assert analysed(noisy).rows[-1].loss_noise.low == 0


def test_networks_without_budgets_are_compared_within_strata_of_macs() -> None:
    bare = [
        replace(
            r,
            rungs=tuple(
                replace(one, rung=replace(one.rung, realised=None, budget=None)) for one in r.rungs
            ),
        )
        for r in study()
    ]
    assert analysed(bare).choice is not None


def test_best_rates_are_fitted_over_sizes() -> None:
    rng = np.random.default_rng(0)
    sizes, at_rates = {}, {factor: [] for factor in (0.5, 1.0, 2.0)}
    for number in range(8):
        x = rng.uniform(0, 1, size=3)
        best = math.exp(-0.5 * x[1])
        one = rung(number=number)
        sizes[one.arch.key] = tuple(x)
        for factor, records in at_rates.items():
            top1 = 0.8 - 0.1 * math.log(factor / best) ** 2
            records.append(record(number, (one, [measurement(top1)])))
    found = analysed(study(), at_rates=at_rates, sizes=sizes).lr_scaling
    assert found is not None
    assert found.slope.values == pytest.approx((0, -0.5, 0), abs=0.02)


def test_zero_cost_proxies_are_compared_with_costs() -> None:
    records = study()
    truth = {
        r.rungs[-1].rung.arch.key: float(np.mean([m.top1 for m in r.rungs[-1].measurements]))
        for r in records
    }
    rng = np.random.default_rng(1)
    noise = {key: float(rng.normal()) for key in truth}
    found = {
        row.name: row for row in analysed(records, scores={"oracle": truth, "dice": noise}).scores
    }
    assert list(found) == ["params", "MACs", "oracle", "dice"]
    assert found["oracle"].agreement.overall.value == pytest.approx(1)
    assert found["oracle"].usable_as_filter
    assert not found["dice"].usable_as_filter
    assert not found["MACs"].usable_as_filter  # equal within a budget


def test_too_few_networks_are_refused() -> None:
    with pytest.raises(AnalysisError, match="compares 4 networks or more, and 3 are measured"):
        analysed(study()[:3])


def test_networks_that_failed_and_too_few_images_are_noted() -> None:
    records = study()
    found = analysed([*records[:-1], replace(records[-1], state="failed")])
    assert found.networks == 11
    assert "1 of 12 networks failed and are excluded" in found.notes
    assert any("use at least 3,000" in note for note in found.notes)  # of 2,000, near a half
