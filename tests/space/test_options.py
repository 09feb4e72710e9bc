"""Options of a network in a space file: set under base, or sampled in a Pareto search."""

from dataclasses import replace
from itertools import product

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cmt_search.presets import PRESETS
from cmt_search.scaling import Shares, resize
from cmt_search.space import Parameter, SearchSpace, parse_space
from tests.space.broken import PARETO, RULE, says

PICO = PRESETS["cmt_pico"]
MIXED = Shares(depth=0.3, width=0.4, resolution=0.3)


def _rule(base: str, *, rest: str = "") -> SearchSpace:
    return parse_space(
        f"kind: rule\nbase: {base}\nbudgets: {{times_base: [5]}}\n{rest}", source="x"
    )


# Under base


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("mlp_ratio: 3", [{"mlp_ratio": 3.0}] * 4),
        ("mlp_ratio: [2, 3, 3.5, 4]", [{"mlp_ratio": r} for r in (2.0, 3.0, 3.5, 4.0)]),
        ("qk_ratio: 0.5", [{"qk_ratio": 0.5}] * 4),
        ("qk_ratio: [1, 1, 0.5, 0.5]", [{"qk_ratio": r} for r in (1.0, 1.0, 0.5, 0.5)]),
        ("kv_stride: 2", [{"kv_stride": 2}] * 4),
        ("kv_stride: [8, 4, 2, 1]", [{"kv_stride": k} for k in (8, 4, 2, 1)]),
        (
            "kv_stride: [2, 2, 1, 1], qk_ratio: 0.25",
            [{"kv_stride": k, "qk_ratio": 0.25} for k in (2, 2, 1, 1)],
        ),
    ],
)
@pytest.mark.parametrize("start", ["preset: cmt_pico", f"arch: {PICO.to_dict()}"])
def test_a_field_of_the_stages_is_one_number_for_all_or_one_for_each(
    start: str, text: str, changes: list[dict[str, float]]
) -> None:
    stages = [replace(s, **c) for s, c in zip(PICO.stages, changes, strict=True)]
    assert _rule(f"{{{start}, {text}}}").arch == replace(PICO, stages=tuple(stages))


@pytest.mark.parametrize("position", ["stage", "block", "none"])
def test_position_tables_are_set_in_the_base(position: str) -> None:
    arch = _rule(f"{{preset: cmt_pico, position: {position}}}").arch
    assert arch == replace(PICO, position=position)


def test_members_of_a_rule_have_the_options_of_its_base() -> None:
    space = _rule("{preset: cmt_pico, qk_ratio: 0.5, kv_stride: [2, 2, 1, 1], position: none}")
    (rung,) = space.candidate(space.params_of_shares(MIXED)).rungs
    assert rung.arch.position == "none"
    assert [(s.qk_ratio, s.kv_stride) for s in rung.arch.stages] == [
        (0.5, stride) for stride in (2, 2, 1, 1)
    ]


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        (
            "kv_stride: [2, 1]",
            ["base: write one for each stage, or one number for all"],
        ),
        (
            "mlp_ratio: []",
            ["base: write one for each stage, or one number for all"],
        ),
        (
            "kv_stride: [1, 1, 0, 1]",
            ["base.kv_stride[2]: use a whole number from 1 to 64"],
        ),
        (
            "qk_ratio: 9",
            ["base.qk_ratio: use a number above 0 and at most 8 or a list"],
        ),
        (
            "kv_stride: [1, x, 1, 1]",
            ["base.kv_stride[1]: use a whole number from 1 to 64"],
        ),
        (
            "mlp_ratio: wide",
            [
                "base.mlp_ratio: use a number above 0 and below 1,000 or a list",
            ],
        ),
        (
            "position: stages",
            ["base.position: did you mean stage? Known are stage, block, none"],
        ),
        ("qk_ration: 1", ["base.qk_ration: did you mean qk_ratio?"]),
    ],
)
def test_an_impossible_option_of_the_base_is_refused(text: str, messages: list[str]) -> None:
    says(f"kind: rule\nbase: {{preset: cmt_pico, {text}}}\nbudgets: [3M]", *messages)


# Heads, or their channels


def test_members_keep_the_number_of_heads_or_the_head_dim() -> None:
    kept = {}
    for fixed in ("num_heads", "head_dim"):
        space = _rule("{preset: cmt_nano}", rest=f"knobs: {{fixed: {fixed}}}")
        assert space.grid.fixed == fixed
        kept[fixed] = space.candidate(space.params_of_shares(MIXED)).rungs[0].arch.stages
    assert [s.heads for s in kept["num_heads"]] == [1, 2, 4, 8]
    assert [s.head_dim for s in kept["head_dim"]] == [12] * 4
    assert _rule("{preset: cmt_nano}").grid.fixed == "num_heads"


def test_pareto_candidates_keep_the_head_dim() -> None:
    text = "kind: pareto\ntrials: 1\nbase: {preset: cmt_nano}\n"
    knobs = "knobs: {fixed: head_dim, width: {min: 12, max: 48, step: 12}}"
    (rung,) = parse_space(text + knobs, source="x").candidate({"width": 36}).rungs
    assert [(s.width, s.heads) for s in rung.arch.stages] == [(36 * k, 3 * k) for k in (1, 2, 4, 8)]


def test_fixed_is_num_heads_or_head_dim() -> None:
    says(
        RULE + "knobs: {fixed: depth}",
        "knobs.fixed: use num_heads, head_dim",
    )


# Sampled


SPACE = parse_space(
    """
kind: pareto
base: {preset: cmt_pico, position: block}
trials: 10
knobs:
  width: {min: 8, max: 16}
  stem_width: {min: 2, max: 9, step: 3}
  neck_width: {min: 16, max: 128, log: true}
  mlp_ratio: {min: 2, max: 5}
  qk_ratio: {min: 0.25, max: 1.5, step: 0.25}
""",
    source="test",
)


def test_sampled_options_are_parameters() -> None:
    assert SPACE.parameters() == (
        Parameter(name="width", low=8, high=16, step=1, integer=True),
        Parameter(name="stem_width", low=2, high=8, step=3, integer=True),
        Parameter(name="neck_width", low=16, high=128, log=True, integer=True),
        Parameter(name="mlp_ratio", low=2, high=5),
        Parameter(name="qk_ratio", low=0.25, high=1.5, step=0.25),
    )


@settings(max_examples=50)
@given(
    width=st.integers(8, 16),
    stem=st.integers(2, 8),
    neck=st.integers(16, 128),
    ratios=st.tuples(st.floats(2, 5), st.floats(0.25, 1.5)),
)
def test_candidates_have_the_options_that_were_sampled(
    width: int, stem: int, neck: int, ratios: tuple[float, float]
) -> None:
    mlp, qk = ratios
    choice = {"stem_width": stem, "neck_width": neck, "mlp_ratio": mlp, "qk_ratio": qk}
    arch = SPACE.candidate({"width": width, **choice}).rungs[0].arch
    plain = resize(SPACE.arch, width=width)
    assert (arch.stem_width, arch.neck_width, arch.position) == (stem, neck, "block")
    assert arch.stages == tuple(replace(s, mlp_ratio=mlp, qk_ratio=qk) for s in plain.stages)
    assert replace(arch, stages=plain.stages, stem_width=plain.stem_width, neck_width=64) == plain


def test_every_corner_of_the_sampled_options_is_a_network() -> None:
    names = [p.name for p in SPACE.parameters()]
    for ends in product(*[(p.low, p.high) for p in SPACE.parameters()]):
        assert SPACE.candidate(dict(zip(names, ends, strict=True))).rungs[0].macs > 0


@pytest.mark.parametrize(
    ("knob", "message"),
    [
        (
            "qk_ratio: {min: 0.05, max: 1}",
            "knobs: use a larger ratio",
        ),
        (
            "qk_ratio: {min: 0.2, max: 1}, width: {min: 2, max: 16}",
            "knobs: use a larger ratio",
        ),
        (
            "mlp_ratio: {min: 1, max: 5000}",
            "knobs.mlp_ratio.max: use a number above 0 and below 1,000",
        ),
        ("mlp_ratio: {min: 4, max: 2}", "knobs.mlp_ratio: swap them"),
        (
            "mlp_ratio: {min: 0, max: 2}",
            "knobs.mlp_ratio.min: use a number above 0 and below 1,000",
        ),
        (
            "mlp_ratio: 3",
            "knobs.mlp_ratio: use a mapping or null",
        ),
        (
            "stem_width: {min: 4}",
            "knobs.stem_width.max: a sampled range needs both ends",
        ),
        (
            "stem_width: {min: 0, max: 4}",
            "knobs.stem_width.min: use a whole number from 1 to 1,000,000 or null",
        ),
    ],
)
def test_an_impossible_range_of_an_option_is_refused(knob: str, message: str) -> None:
    says(f"{PARETO.split('knobs:')[0]}knobs: {{{knob}}}", message)


@pytest.mark.parametrize(
    ("name", "knob"),
    [
        ("stem_width", "{min: 4, max: 8}"),
        ("neck_width", "{max: 64}"),
        ("mlp_ratio", "{min: 2, max: 4}"),
        ("qk_ratio", "{min: 0.5, max: 1}"),
    ],
)
def test_a_rule_search_takes_options_from_the_base(name: str, knob: str) -> None:
    says(
        f"{RULE}knobs: {{{name}: {knob}}}",
        f"knobs.{name}: a rule search takes it from the base; set base.{name} instead",
    )


def test_caps_are_checked_against_the_smallest_sampled_options() -> None:
    lows = {p.name: p.low for p in SPACE.parameters()}
    low = SPACE.candidate(lows).rungs[0].macs
    text = SPACE.to_yaml()
    assert parse_space(
        text.replace("caps:\n  macs: null", f"caps:\n  macs: {low}"), source="x"
    ).caps.macs
    says(
        text.replace("caps:\n  macs: null", f"caps:\n  macs: {low - 1}"),
        "caps.macs: this is the smallest network of the knobs",
    )


# Files and fingerprints


def test_options_survive_a_yaml_round_trip() -> None:
    base = "{preset: cmt_pico, kv_stride: [2, 2, 1, 1], qk_ratio: 0.5, position: block}"
    recipe = "proxy: {recipe: {decay_position: true}}\n"
    for space in (SPACE, _rule(base, rest=f"knobs: {{fixed: head_dim}}\n{recipe}")):
        again = parse_space(space.to_yaml(), source="again")
        assert again == space
        assert again.fingerprint == space.fingerprint
        assert again.parameters() == space.parameters()
    assert again.proxy.recipe.decay_position


@pytest.mark.parametrize(
    ("start", "path", "value"),
    [
        (RULE, "base.qk_ratio", 0.5),
        (RULE, "base.mlp_ratio", 3.5),
        (RULE, "base.kv_stride", 2),
        (RULE, "base.position", "none"),
        (RULE, "knobs.fixed", "head_dim"),
        (RULE, "proxy.recipe", {"decay_position": True}),
        (PARETO, "knobs.stem_width", {"min": 2, "max": 4}),
        (PARETO, "knobs.neck_width", {"min": 2, "max": 4}),
        (PARETO, "knobs.mlp_ratio", {"min": 2, "max": 4}),
        (PARETO, "knobs.qk_ratio", {"min": 0.5, "max": 1}),
    ],
)
def test_an_option_in_use_changes_the_fingerprint(start: str, path: str, value: object) -> None:
    data = yaml.safe_load(start)
    plain = parse_space(yaml.safe_dump(data), source="x").fingerprint
    section, name = path.split(".")
    data[section] = {**data.get(section, {}), name: value}
    assert parse_space(yaml.safe_dump(data), source="x").fingerprint != plain
