"""Whatever is wrong in a space file is said with the file, the key path and a remedy."""

import pytest

from cmt_search.space import parse_space
from tests.space.broken import PARETO, RULE, says

TOP = (
    "kind, base, knobs, budgets, tolerance, caps, proxy, fidelities, latency, objectives, sampler, "
    "trials, seeds, seed"
)
RULES = "cmt-paper, efficientnet, dwr, depth-only, width-only, resolution-only, uniform, dw, dr, wr"
PRESET_NAMES = "cmt_ti, cmt_xs, cmt_s, cmt_b, cmt_micro, cmt_nano, cmt_pico"


@pytest.mark.parametrize("text", [RULE, PARETO])
def test_the_spaces_that_these_tests_break_are_possible(text: str) -> None:
    assert parse_space(text, source="x").seeds == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("knob: {}", "knob: is unknown; did you mean knobs?"),
        ("learning-rate: 3", f"learning-rate: is unknown; remove it, or use one of {TOP}"),
        ("knobs: {depht: {min: 3}}", "knobs.depht: is unknown; did you mean depth?"),
        ("knobs: {depth: {maxx: 3}}", "knobs.depth.maxx: is unknown; did you mean max?"),
        ("proxy: {epoch: 3}", "proxy.epoch: is unknown; did you mean epochs?"),
        ("proxy: {dataset: {nam: x}}", "proxy.dataset.nam: is unknown; did you mean name?"),
        (
            "proxy: {recipe: {weight-decay: 1}}",
            "proxy.recipe.weight-decay: is unknown; did you mean weight_decay?",
        ),
        ("caps: {parms: 1M}", "caps.parms: is unknown; did you mean params?"),
        ("sampler: {rule: [dwr]}", "sampler.rule: is unknown; did you mean rules?"),
        (
            "sampler: {points: [{name: a, depth: 0, width: 1, resolution: 0, side: 2}]}",
            "sampler.points[0].side: is unknown; remove it",
        ),
    ],
)
def test_an_unknown_key_is_named_with_what_may_have_been_meant(line: str, message: str) -> None:
    says(RULE + line, message)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("seeds: 0", "seeds: 0 is not possible; write greater than or equal to 1"),
        ("seed: -1", "seed: -1 is not possible; write greater than or equal to 0"),
        ("trials: 0", "trials: 0 is not possible; write greater than or equal to 1"),
        (
            "trials: many",
            "trials: 'many' is not possible; write a valid integer, unable to parse string as an "
            "integer",
        ),
        (
            "trials: 1.5",
            "trials: 1.5 is not possible; write a valid integer, got a number with a fractional "
            "part",
        ),
        ("tolerance: 0.7", "tolerance: 0.7 is not possible; write less than 0.5"),
        ("tolerance: 0", "tolerance: 0 is not possible; write greater than 0"),
        (
            "knobs: {depth: 5}",
            "knobs.depth: 5 is not possible; write a valid dictionary or instance of Knob",
        ),
        ("proxy: {epochs: 0}", "proxy.epochs: 0 is not possible; write greater than or equal to 1"),
        (
            "proxy: {data_fraction: 2}",
            "proxy.data_fraction: 2 is not possible; write less than or equal to 1",
        ),
        (
            "sampler: {name: tpee}",
            "sampler.name: 'tpee' is not possible; use 'design', 'gp', 'tpe', "
            "'sobol', 'random', 'grid', 'nsga2', 'nsga3' or 'cmaes'",
        ),
        (
            "sampler: {lattice: 13}",
            "sampler.lattice: 13 is not possible; write less than or equal to 12",
        ),
        (
            "sampler: {replicates: 0}",
            "sampler.replicates: 0 is not possible; write greater than or equal to 1",
        ),
        (
            "objectives: [top1, speed]",
            "objectives[1]: 'speed' is not possible; use 'top1', 'loss', 'macs', 'params', "
            "'activations', 'latency_ms', 'memory_mib' or 'seconds'",
        ),
        ("1: 2", "[1]: is no name; remove it"),
    ],
)
def test_a_value_of_the_wrong_type_or_size_is_named_with_what_to_write(
    line: str, message: str
) -> None:
    says(RULE + line, message)


@pytest.mark.parametrize(
    ("knobs", "messages"),
    [
        ("{depth: {min: 9, max: 5}}", ["knobs.depth: min=9 is above max=5; swap them"]),
        (
            "{width: {min: 0}}",
            ["knobs.width.min: 0 is not possible; write greater than or equal to 1"],
        ),
        (
            "{resolution: {step: 0}}",
            ["knobs.resolution.step: 0 is not possible; write greater than or equal to 1"],
        ),
        (
            "{width: {min: 4, max: 9, step: 2, log: true}}",
            ["knobs.width: log and step exclude each other; remove one of them"],
        ),
        (
            "{stage_ratio: 1.5}",
            [
                "knobs.stage_ratio=1.5 needs three stages or more and a value in 0..1; leave it "
                "out to keep the base's proportions"
            ],
        ),
        (
            "{stage_ratio: {min: 0.5, max: 0.2}}",
            ["knobs.stage_ratio: min=0.5 is not below max=0.2; swap them"],
        ),
        (
            "{stage_ratio: {min: 0.5, mx: 0.9}}",
            [
                "knobs.stage_ratio.max: is missing; add it",
                "knobs.stage_ratio.mx: is unknown; remove it",
            ],
        ),
        (
            "{stage_ratio: half}",
            [
                "knobs.stage_ratio: 'half' is not possible; write a valid number, unable to parse "
                "string as a number",
                "knobs.stage_ratio: 'half' is not possible; write a valid dictionary or instance "
                "of RatioRange",
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
        ("", "budgets: is missing; write MACs like [1.5M, 3M], or {times_base: [3, 6]}"),
        (
            "budgets: []",
            "budgets: is missing; write MACs like [1.5M, 3M], or {times_base: [3, 6]}",
        ),
        (
            "budgets: [3M, 0.1M]",
            "budgets.macs[1]: 100,000 MACs is not above the base's 443,160, and a rule grows the "
            "base; use a larger budget or a smaller base",
        ),
        (
            "budgets: {times_base: [4, 3, 0.5]}",
            "budgets.times_base[2]: 221,580 MACs is not above the base's 443,160, and a rule grows "
            "the base; use a larger budget or a smaller base",
        ),
        (
            "budgets: {times_base: [1.005]}",
            "budgets.times_base[0]: 445,376 MACs is not above the base's 443,160, and a rule grows "
            "the base; use a larger budget or a smaller base",
        ),
        ("budgets: [2M, 2M]", "budgets: names each budget once; remove the repeated one"),
        (
            "budgets: {macs: [3M], times_base: [2]}",
            "budgets: gives both macs and times_base; keep one of them",
        ),
        (
            "budgets: {time_base: [2]}",
            "budgets.time_base: is unknown; did you mean times_base?",
        ),
        (
            "budgets: [1.5Q]",
            "budgets.macs[0]: '1.5Q' is no positive number; write one such as 1.5M or 0.64G",
        ),
        (
            "budgets: [1M, -3]",
            "budgets.macs[1]: -3 is no positive number; write one such as 1.5M or 0.64G",
        ),
        (
            "budgets: [[1]]",
            "budgets.macs[0]: [1] is no number; write one such as 1500000, 1.5M or 0.64G",
        ),
        (
            "budgets: 3M",
            "budgets: '3M' is not possible; write a valid dictionary or instance of Budgets",
        ),
        (
            "budgets: [3M]\nknobs: {depth: {max: 5}}",
            "budgets.macs[0]: 3,000,000 MACs is beyond reach of every named rule; cmt-paper: the "
            "rule asks for 8.7 blocks, first width 13.9 and 18.9 pixels, outside depth 4..5, width "
            "1..any or resolution 1..any; widen that knob or ask for a budget nearer to the base",
        ),
        (
            "budgets: [3M]\ncaps: {params: 1k}",
            "budgets.macs[0]: 3,000,000 MACs is beyond reach of every named rule; cmt-paper: "
            "budget 3,000,000 MACs exceeds the cap on params (262,327 needed, 1,000 allowed); "
            "raise the cap or lower the budget",
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
            "proxy.dataset.name='mnist' is unknown; use one of fashion-mnist-10k, fashion-mnist, "
            "cifar10, folder, or timm:NAME for what timm.data.create_dataset reads",
        ),
        (
            "proxy: {dataset: {name: cifar10}}",
            "proxy.dataset.root is missing; cifar10 needs the folder it lies in",
        ),
        (
            "proxy: {dataset: cifar10}",
            "proxy.dataset: 'cifar10' is not possible; write a dictionary or an instance of "
            "DatasetSpec",
        ),
        ("proxy: {recipe: {lr: 0}}", "proxy.recipe.lr=0.0 is impossible; use about 0.004"),
        (
            "proxy: {recipe: {lr: fast}}",
            "proxy.recipe.lr: 'fast' is not possible; write a valid number, unable to parse string "
            "as a number",
        ),
        (
            "proxy: {recipe: {batch: 1}}",
            "proxy.recipe.batch=1 is impossible; use at least 2: BatchNorm needs two",
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
            "objectives: a rule search has the objective [top1]; remove the key",
        ),
        (
            "fidelities: {epochs: [1, 2]}",
            "fidelities.epochs: a rule search trains its budgets for proxy.epochs; remove the key, "
            "or add fidelities.reduction_factor to prune rules after the shorter trainings",
        ),
        (
            "sampler: {name: nsga2}",
            "sampler.name: nsga2 is for shape and pareto searches; use one of design, gp, tpe, "
            "random",
        ),
        (
            "knobs: {stage_ratio: {min: 0, max: 1}}",
            "knobs.stage_ratio: is fixed in a rule search; write one number, or none",
        ),
        (
            "knobs: {width: {min: 2, max: 99, log: true}}",
            "knobs: a rule search samples shares, so log has no meaning; remove it",
        ),
        ("caps: {macs: 3M}", "caps.macs: a rule search has budgets instead; remove the key"),
        ("sampler: {rules: [dwrr]}", f"sampler.rules: rule 'dwrr' is unknown; use {RULES}"),
        (
            "sampler: {points: [{name: a, depth: 0.5, width: 0.5, resolution: 0.5}]}",
            "sampler.points[0]: shares (0.5, 0.5, 0.5) sum to 1.5, not 1; divide each by their sum",
        ),
        (
            "sampler: {points: [{name: dwr, depth: 0, width: 1, resolution: 0}]}",
            "sampler.points: the name 'dwr' is taken; choose another",
        ),
    ],
)
def test_what_a_rule_search_has_no_use_for_is_refused(line: str, message: str) -> None:
    says(RULE + line, message)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "budgets: [3M]",
            "budgets: a pareto search has none; cap the cost with caps.macs instead",
        ),
        ("objectives: []", "objectives: names each objective once; write [top1, macs]"),
        ("objectives: [top1, top1]", "objectives: names each objective once; write [top1, macs]"),
        (
            "sampler: {name: design}",
            "sampler.name: design is for rule searches; use tpe or random",
        ),
        (
            "fidelities: {reduction_factor: 3}",
            "fidelities.reduction_factor: needs two rungs or more; write epochs like [1, 3, 9]",
        ),
        (
            "fidelities: {reduction_factor: 1, epochs: [1, 2]}",
            "fidelities.reduction_factor: 1 is not possible; write greater than or equal to 2",
        ),
        (
            "sampler: {name: cmaes}",
            "sampler.name: cmaes has one objective; use nsga2, or objectives: [top1]",
        ),
        (
            "fidelities: {epochs: [3, 1]}",
            "fidelities.epochs: epochs [3, 1] do not grow; write them like [1, 3, 9]",
        ),
        (
            "caps: {macs: 1k}",
            "caps.macs: 100,844 of {'depth': 4, 'width': 4} is above 1,000; raise the cap or "
            "narrow the knobs; this is the smallest network of the knobs",
        ),
    ],
)
def test_what_a_pareto_search_cannot_do_is_refused(line: str, message: str) -> None:
    says(PARETO + line, message)


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        (
            "knobs: {depth: {min: 4, max: 6}}",
            "trials: is missing; a pareto search needs to know when to stop, say 100",
        ),
        (
            "trials: 3",
            "knobs: none has a range, so there is nothing to search; give min and max",
        ),
        (
            "trials: 3\nknobs: {depth: {min: 4}}",
            "knobs.depth.max: is missing; a sampled range needs both ends",
        ),
        (
            "trials: 3\nknobs: {resolution: {max: 28}}",
            "knobs.resolution.min: is missing; a sampled range needs both ends",
        ),
    ],
)
def test_a_pareto_search_needs_an_end_and_something_to_vary(rest: str, message: str) -> None:
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
            f"base: preset 'cmt_piko' is unknown; did you mean cmt_pico? Known are {PRESET_NAMES}",
        ),
        ("{preset: 3}", "base.preset: 3 is not possible; write a valid string"),
        (
            "cmt_pico",
            "base: 'cmt_pico' is not possible; write a valid dictionary or instance of Base",
        ),
        (
            "{preset: cmt_pico, resolution: 0}",
            "base: resolution=0 is too small; use at least 1",
        ),
        (
            "{preset: cmt_pico, resolutoin: 14}",
            "base.resolutoin: is unknown; did you mean resolution?",
        ),
        ("{arch: {resolution: 14}}", "base: arch.stem_width is missing; add it"),
        (
            f"{{arch: {{resolution: 14, stem_width: 4, {STAGES}}}}}",
            "base: stages[0].width=8 is not divisible by heads=3; use 9",
        ),
        (
            "{arch: {resolution: 14, stem_width: 4, stages: [{depth: 1, width: 8}]}}",
            "base: arch.stages[0].heads is missing; add it",
        ),
    ],
)
def test_a_base_that_is_no_network_is_refused(base: str, message: str) -> None:
    says(f"kind: rule\nbase: {base}\nbudgets: [3M]", message)


def test_a_stage_ratio_needs_a_third_stage() -> None:
    stages = "[{depth: 1, width: 8, heads: 1}, {depth: 1, width: 8, heads: 1}]"
    says(
        f"kind: pareto\ntrials: 1\nbase: {{arch: {{resolution: 14, stem_width: 4, stages: {stages}"
        "}}\nknobs: {stage_ratio: {min: 0.2, max: 0.8}}",
        "knobs.stage_ratio=0.2 needs three stages or more and a value in 0..1; leave it out to "
        "keep the base's proportions",
    )
