"""Whatever is wrong in a space file is said with the file, the key path and a remedy."""

import pytest

from cmt_search.errors import SpaceError
from cmt_search.space import parse_space
from tests.space.broken import PARETO, RULE, says


@pytest.mark.parametrize("text", [RULE, PARETO])
def test_the_spaces_that_these_tests_modify_are_valid(text: str) -> None:
    assert parse_space(text, source="x").seeds == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("knob: {}", "knob: did you mean knobs?"),
        ("learning-rate: 3", "learning-rate: use kind, base, knobs"),
        ("knobs: {depht: {min: 3}}", "knobs.depht: did you mean depth?"),
        ("knobs: {depth: {maxx: 3}}", "knobs.depth.maxx: did you mean max?"),
        ("proxy: {epoch: 3}", "proxy.epoch: did you mean epochs?"),
        ("proxy: {dataset: {nam: x}}", "proxy.dataset.nam: did you mean name?"),
        (
            "proxy: {recipe: {weight-decay: 1}}",
            "proxy.recipe.weight-decay: did you mean weight_decay?",
        ),
        ("caps: {parms: 1M}", "caps.parms: did you mean params?"),
        ("sampler: {rule: [dwr]}", "sampler.rule: did you mean rules?"),
        (
            "sampler: {points: [{name: a, depth: 0, width: 1, resolution: 0, side: 2}]}",
            "sampler.points[0].side: use name, depth, width, resolution",
        ),
    ],
)
def test_an_unknown_key_is_reported_with_the_closest_key(line: str, message: str) -> None:
    says(RULE + line, message)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ladder: {epochs: [1, 2]}", "ladder: did you mean fidelities?"),
        ("fidelities: {halving: 3}", "fidelities.halving: did you mean reduction_factor?"),
        ("sampler: {population: 8}", "sampler.population: did you mean initial_points?"),
        ("knobs: {keep: heads}", "knobs.keep: did you mean fixed?"),
        ("latency: {error: 0.1}", "latency.error: did you mean threshold?"),
        ("error: 0.1", "error: use kind, base"),  # `latency` alone has its successor
    ],
)
def test_a_renamed_key_is_reported_with_its_new_name(line: str, message: str) -> None:
    says(RULE + line, message)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("knobs:", "knobs: null is not possible; use a mapping, or leave it out"),
        ("seeds: null", "seeds: null is not possible; use a whole number from 1 to 100, or leave"),
        ("knobs: {depth: ~}", "knobs.depth: null is not possible; use a mapping, or leave it out"),
        ("fidelities: {epochs: [1, null]}", "fidelities.epochs[1]: null is not possible; use a"),
        ("caps: true", "caps: true is not possible; use a mapping"),
    ],
)
def test_null_and_booleans_are_named_as_yaml_writes_them(line: str, message: str) -> None:
    says(RULE + line, message)


def test_null_for_a_required_key_cannot_be_left_out() -> None:
    with pytest.raises(SpaceError, match=r"^x: base: null is not possible; use a mapping$"):
        parse_space("kind: rule\nbase:\nbudgets: [3M]", source="x")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("seeds: 0", "seeds: use a whole number from 1 to 100"),
        ("seed: -1", "seed: use a whole number from 0 to 2,147,483,647"),
        ("trials: 0", "trials: use a whole number from 1 to 1,000,000 or null"),
        (
            "trials: many",
            "trials: use a whole number from 1 to 1,000,000 or null",
        ),
        (
            "trials: 1.5",
            "trials: use a whole number from 1 to 1,000,000 or null",
        ),
        ("tolerance: 0.7", "tolerance: use a number above 0 and below 0.5"),
        ("tolerance: 0", "tolerance: use a number above 0 and below 0.5"),
        (
            "knobs: {depth: 5}",
            "knobs.depth: use a mapping",
        ),
        ("proxy: {epochs: 0}", "proxy.epochs: use a whole number from 1 to 100,000"),
        (
            "proxy: {data_fraction: 2}",
            "proxy.data_fraction: use a number from 0.0001 to 1",
        ),
        (
            "sampler: {name: tpee}",
            "sampler.name: did you mean tpe? Known are design, gp, tpe",
        ),
        (
            "sampler: {lattice: 13}",
            "sampler.lattice: use a whole number from 0 to 12",
        ),
        (
            "sampler: {replicates: 0}",
            "sampler.replicates: use a whole number from 1 to 100",
        ),
        (
            "objectives: [top1, speed]",
            "objectives[1]: use top1, loss, macs, params, activations",
        ),
        ("1: 2", "1: remove it"),
    ],
)
def test_a_value_of_the_wrong_type_or_size_is_reported_with_the_allowed_values(
    line: str, message: str
) -> None:
    says(RULE + line, message)


@pytest.mark.parametrize(
    ("knobs", "messages"),
    [
        ("{depth: {min: 9, max: 5}}", ["knobs.depth: swap them"]),
        (
            "{width: {min: 0}}",
            ["knobs.width.min: use a whole number from 1 to 1,000,000 or null"],
        ),
        (
            "{resolution: {step: 0}}",
            ["knobs.resolution.step: use a whole number from 1 to 1,000,000"],
        ),
        (
            "{width: {min: 4, max: 9, step: 2, log: true}}",
            ["knobs.width: remove one of them"],
        ),
        (
            "{stage_ratio: 1.5}",
            ["knobs.stage_ratio: use a number from 0 to 1 or a mapping or null"],
        ),
        (
            "{stage_ratio: {min: 0.5, max: 0.2}}",
            ["knobs.stage_ratio: swap them"],
        ),
        (
            "{stage_ratio: {min: 0.5, mx: 0.9}}",
            [
                "knobs.stage_ratio.max: add it",
                "knobs.stage_ratio.mx: did you mean max?",
            ],
        ),
        (
            "{stage_ratio: half}",
            [
                "knobs.stage_ratio: use a number from 0 to 1 or a mapping or null",
            ],
        ),
    ],
)
@pytest.mark.parametrize("kind", ["rule", "pareto"])
def test_an_impossible_range_is_refused_in_either_kind_of_search(
    kind: str, knobs: str, messages: list[str]
) -> None:
    start = RULE if kind == "rule" else PARETO.split("knobs:")[0]
    says(f"{start}knobs: {knobs}", *messages)


@pytest.mark.parametrize(
    ("budgets", "message"),
    [
        ("", "budgets: write MACs like [1.5M, 3M], or {times_base: [3"),
        (
            "budgets: []",
            "budgets: write MACs like [1.5M, 3M], or {times_base: [3",
        ),
        (
            "budgets: [3M, 0.1M]",
            "budgets.macs[1]: use a larger budget or a smaller base",
        ),
        (
            "budgets: {times_base: [4, 3, 0.5]}",
            "budgets.times_base[2]: use a larger budget or a smaller base",
        ),
        (
            "budgets: {times_base: [1.005]}",
            "budgets.times_base[0]: use a larger budget or a smaller base",
        ),
        ("budgets: [2M, 2M]", "budgets: remove the repeated one"),
        (
            "budgets: {macs: [3M], times_base: [2]}",
            "budgets: keep one of them",
        ),
        (
            "budgets: {time_base: [2]}",
            "budgets.time_base: did you mean times_base?",
        ),
        (
            "budgets: [1.5Q]",
            "budgets.macs[0]: write one such as 1.5M or 0.64G",
        ),
        (
            "budgets: [1M, -3]",
            "budgets.macs[1]: write one such as 1.5M or 0.64G",
        ),
        (
            "budgets: [[1]]",
            "budgets.macs[0]: write one such as 1500000, 1.5M or 0.64G",
        ),
        (
            "budgets: 3M",
            "budgets: use a mapping",
        ),
        (
            "budgets: [3M]\nknobs: {depth: {max: 5}}",
            "budgets.macs[0]: widen that knob or ask for a budget nearer to",
        ),
        (
            "budgets: [3M]\ncaps: {params: 1k}",
            "budgets.macs[0]: raise the cap or lower the budget",
        ),
    ],
)
def test_a_budget_that_the_base_cannot_reach_is_refused(budgets: str, message: str) -> None:
    says(f"kind: rule\nbase: {{preset: cmt_pico}}\n{budgets}", message)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "proxy: {dataset: {name: mnist}}",
            "proxy.dataset: use one of fashion-mnist-10k, fashion-mnist",
        ),
        (
            "proxy: {dataset: {name: cifar10}}",
            "proxy.dataset: cifar10 needs the folder of its images",
        ),
        (
            "proxy: {dataset: cifar10}",
            "proxy.dataset: use a mapping",
        ),
        ("proxy: {recipe: {lr: 0}}", "proxy.recipe.lr: use a number above 0 and at most 100"),
        (
            "proxy: {recipe: {lr: fast}}",
            "proxy.recipe.lr: use a number above 0 and at most 100",
        ),
        (
            "proxy: {recipe: {batch: 1}}",
            "proxy.recipe.batch: use a whole number from 2 to 1,048,576",
        ),
    ],
)
def test_an_impossible_proxy_is_refused(line: str, message: str) -> None:
    says(RULE + line, message)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "objectives: [loss]",
            "objectives: remove the key",
        ),
        (
            "fidelities: {epochs: [1, 2]}",
            "fidelities.epochs: remove the key, or add",
        ),
        (
            "sampler: {name: nsga2}",
            "sampler.name: use one of design, gp, tpe, random",
        ),
        (
            "knobs: {stage_ratio: {min: 0, max: 1}}",
            "knobs.stage_ratio: write one number, or none",
        ),
        (
            "knobs: {width: {min: 2, max: 99, log: true}}",
            "knobs: remove it",
        ),
        ("caps: {macs: 3M}", "caps.macs: remove the key"),
        ("sampler: {rules: [dwrr]}", "sampler.rules: did you mean dwr?"),
        (
            "sampler: {points: [{name: a, depth: 0.5, width: 0.5, resolution: 0.5}]}",
            "sampler.points[0]: divide each by their sum",
        ),
        (
            "sampler: {points: [{name: dwr, depth: 0, width: 1, resolution: 0}]}",
            "sampler.points: choose another",
        ),
    ],
)
def test_keys_that_do_not_apply_to_rule_searches_are_refused(line: str, message: str) -> None:
    says(RULE + line, message)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "budgets: [3M]",
            "budgets: cap the cost with caps.macs instead",
        ),
        ("objectives: []", "objectives: write [top1, macs]"),
        ("objectives: [top1, top1]", "objectives: write [top1, macs]"),
        (
            "sampler: {name: design}",
            "sampler.name: use tpe or random",
        ),
        (
            "fidelities: {reduction_factor: 3}",
            "fidelities: write epochs like [1, 3, 9]",
        ),
        (
            "fidelities: {reduction_factor: 1, epochs: [1, 2]}",
            "fidelities.reduction_factor: use a whole number from 2 to 100 or null",
        ),
        (
            "sampler: {name: cmaes}",
            "sampler.name: use nsga2, or objectives: [top1]",
        ),
        (
            "fidelities: {epochs: [3, 1]}",
            "fidelities: write them like [1, 3, 9]",
        ),
        (
            "caps: {macs: 1k}",
            "caps.macs: this is the smallest network of the knobs",
        ),
    ],
)
def test_keys_that_do_not_apply_to_pareto_searches_are_refused(line: str, message: str) -> None:
    says(PARETO + line, message)


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        (
            "knobs: {depth: {min: 4, max: 6}}",
            "trials: a pareto search needs an end, such as 100",
        ),
        (
            "trials: 3",
            "knobs: give one a min and a max",
        ),
        (
            "trials: 3\nknobs: {depth: {min: 4}}",
            "knobs.depth.max: a sampled range needs both ends",
        ),
        (
            "trials: 3\nknobs: {resolution: {max: 28}}",
            "knobs.resolution.min: a sampled range needs both ends",
        ),
    ],
)
def test_a_pareto_search_needs_trials_and_a_sampled_knob(rest: str, message: str) -> None:
    says(f"kind: pareto\nbase: {{preset: cmt_pico}}\n{rest}", message)


STAGES = "stages: [{depth: 1, width: 8, heads: 3}]"


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("{}", "base: name either a preset or an arch, and not both"),
        (
            "{preset: cmt_pico, arch: {}}",
            "base: name either a preset or an arch, and not both",
        ),
        (
            "{preset: cmt_piko}",
            "base: did you mean cmt_pico?",
        ),
        ("{preset: 3}", "base.preset: use text or null"),
        (
            "3",
            "base: use a mapping",
        ),
        (
            "{preset: cmt_pico, resolution: 0}",
            "base.resolution: use a whole number from 8 to 4,096 or null",
        ),
        (
            "{preset: cmt_pico, resolutoin: 14}",
            "base.resolutoin: did you mean resolution?",
        ),
        ("{arch: {resolution: 14}}", "base: add it"),
        (
            f"{{arch: {{resolution: 14, stem_width: 4, {STAGES}}}}}",
            "base: use 9",
        ),
        (
            "{arch: {resolution: 14, stem_width: 4, stages: [{depth: 1, width: 8}]}}",
            "base: add it",
        ),
    ],
)
def test_an_invalid_base_is_refused(base: str, message: str) -> None:
    says(f"kind: rule\nbase: {base}\nbudgets: [3M]", message)


def test_a_stage_ratio_needs_a_third_stage() -> None:
    stages = "[{depth: 1, width: 8, heads: 1}, {depth: 1, width: 8, heads: 1}]"
    says(
        f"kind: pareto\ntrials: 1\nbase: {{arch: {{resolution: 14, stem_width: 4, stages: {stages}"
        "}}\nknobs: {stage_ratio: {min: 0.2, max: 0.8}}",
        "knobs.stage_ratio: leave it out to keep the base's proportions",
    )
