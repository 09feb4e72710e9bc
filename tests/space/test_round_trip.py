"""A space survives the way to YAML and back, and its fingerprint says what a trial is."""

from functools import reduce
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
import yaml
from annotated_types import Interval
from hypothesis import given, settings
from hypothesis import strategies as st

from cmt_search.arch import Arch
from cmt_search.cost.config import BenchmarkConfig
from cmt_search.dataset_spec import DatasetSpec
from cmt_search.presets import PRESETS
from cmt_search.recipe import Augment, Recipe, TwoPhase
from cmt_search.scaling import named_rule
from cmt_search.space import SearchSpace, confirmation_space, load_space, parse_space
from cmt_search.space.schema import Caps, Fidelities, Knob, Knobs, Proxy, Sampler

RULE: dict[str, Any] = {
    "kind": "rule",
    "base": {"preset": "cmt_pico"},
    "budgets": {"times_base": [3]},
    "proxy": {"dataset": {"name": "cifar10", "root": "here"}},
}
PARETO: dict[str, Any] = {
    "kind": "pareto",
    "base": {"preset": "cmt_pico"},
    "trials": 5,
    "knobs": {"depth": {"min": 4, "max": 12}},
}


def _space(data: dict[str, Any]) -> SearchSpace:
    return parse_space(yaml.safe_dump(data), source="test")


def test_defaults_depend_on_the_kind_of_search() -> None:
    rule, pareto = _space(RULE), _space(PARETO)
    assert (rule.objectives, rule.sampler.name, rule.trials) == (("top1",), "design", None)
    assert (pareto.objectives, pareto.sampler.name) == (("top1", "macs"), "tpe")
    assert rule.proxy.recipe == Recipe()
    assert pareto.proxy.dataset == DatasetSpec()
    assert (rule.seeds, rule.seed, rule.reduction_factor, rule.tolerance) == (1, 0, None, 0.01)


@pytest.mark.parametrize("sampler", [None, {}, {"name": None}])
def test_an_empty_sampler_is_the_default_one(sampler: dict[str, Any] | None) -> None:
    assert _space({**RULE, "sampler": sampler}).sampler.name == "design"
    assert _space({**PARETO, "sampler": sampler}).sampler.name == "tpe"


@pytest.mark.parametrize("knob", [{}, {"max": 28}])
def test_sides_keep_their_step_of_two_when_only_the_range_is_given(knob: dict[str, int]) -> None:
    assert _space({**RULE, "knobs": {"resolution": knob}}).grid.resolution_step == 2


def test_the_grid_has_the_ranges_and_steps_of_the_knobs() -> None:
    knobs = {
        "depth": {"min": 5, "max": 40},
        "width": {"min": 6, "max": 30, "step": 2},
        "resolution": {"min": 12, "max": 28, "step": 4},
    }
    grid = _space({**RULE, "knobs": knobs}).grid
    assert (grid.depth_min, grid.depth_max) == (5, 40)
    assert (grid.width_min, grid.width_max, grid.width_step) == (6, 30, 2)
    assert (grid.resolution_min, grid.resolution_max, grid.resolution_step) == (12, 28, 4)


def test_budgets_are_sorted_macs() -> None:
    assert _space({**RULE, "budgets": {"times_base": [8, 3]}}).budget_macs == (1329480, 3545280)
    assert _space({**RULE, "budgets": ["3M", 1500000, "1.8M"]}).budget_macs == (1.5e6, 1.8e6, 3e6)


def test_a_base_may_be_a_preset_with_changes_or_an_arch_in_full() -> None:
    changed = _space({**RULE, "base": {"preset": "cmt_pico", "in_chans": 1, "resolution": 16}})
    assert (changed.arch.in_chans, changed.arch.resolution) == (1, 16)
    assert changed.arch.stages == PRESETS["cmt_pico"].stages
    full = _space({**RULE, "base": {"arch": changed.arch.to_dict()}})
    assert full.arch == changed.arch
    assert isinstance(full.arch, Arch)


def _fields(kind: Any) -> dict[str, tuple[Any, Any]]:
    """Annotation and default of each field of a section."""
    names = getattr(kind, "model_fields", None) or kind.__dataclass_fields__
    hints = get_type_hints(kind, include_extras=True)
    default = kind() if kind is not SearchSpace else _space(RULE)
    return {name: (hints[name], getattr(default, name)) for name in names}


SECTIONS = {
    "knobs": Knobs,
    "knobs.depth": Knob,
    "proxy": Proxy,
    "proxy.dataset": DatasetSpec,
    "proxy.recipe": Recipe,
    "proxy.recipe.augment": Augment,
    "proxy.recipe.two_phase": TwoPhase,
    "fidelities": Fidelities,
    "latency": BenchmarkConfig,
    "sampler": Sampler,
    "caps": Caps,
}
NULLABLE = [
    f"{path}.{name}"
    for path, kind in SECTIONS.items()
    for name, (hint, default) in _fields(kind).items()
    if NoneType in get_args(hint) and default is not None
]
NUMBERS = [
    (f"{path}.{name}", end)
    for path, kind in SECTIONS.items()
    for name, (hint, _) in _fields(kind).items()
    for option in (hint, *(get_args(hint) if get_origin(hint) is UnionType else ()))
    for bound in getattr(option, "__metadata__", ())
    if isinstance(bound, Interval) and path not in ("knobs", "knobs.depth", "fidelities", "caps")
    for end in (bound.ge, bound.le)
    if end is not None and name != "size"  # which the embedded images do not take
]


def test_fields_whose_default_is_not_null_take_null_too() -> None:
    assert NULLABLE == ["proxy.dataset.val_split", "latency.threads"]


def _survives(data: dict[str, Any]) -> SearchSpace:
    """The space reads back from its own file as it was, and so does what a run derives of it."""
    space = _space(data)
    again = parse_space(space.to_yaml(), source="again")
    assert again == space
    assert again.fingerprint == space.fingerprint
    assert again.to_yaml() == space.to_yaml()
    assert again.parameters() == space.parameters()
    return space


@pytest.mark.parametrize("path", NULLABLE)
def test_an_explicit_null_survives_resuming_and_confirming(path: str) -> None:
    data = {**RULE, "proxy": {"dataset": {"name": "timm:torch/x", "root": "x", "size": 32}}}
    data["caps"] = {"latency_ms": 1e6}
    space = _survives(_changed(data, path, None))
    assert space.fingerprint != _space(data).fingerprint
    best = {"dwr": named_rule("dwr", base=space.arch).shares}
    confirmation = confirmation_space(space, rules=best, macs=2e6, seeds=1, times=1)
    for derived in (space, confirmation):
        assert reduce(getattr, path.split("."), derived) is None


@pytest.mark.parametrize(("path", "value"), NUMBERS)
def test_every_number_survives_at_the_ends_of_its_range(path: str, value: float) -> None:
    data = {**PARETO, "proxy": {"recipe": {"batch": value}}} if "micro_batch" in path else PARETO
    _survives(_changed(data, path, value))


knob_data = st.fixed_dictionaries(
    {"min": st.integers(4, 9), "max": st.integers(10, 40)},
    optional={"step": st.integers(1, 3)},
)
space_data = st.fixed_dictionaries(
    {
        "kind": st.just("pareto"),
        "base": st.sampled_from(
            [
                {"preset": "cmt_nano"},
                {"preset": "cmt_pico", "in_chans": 1, "neck_width": 32},
                {"arch": PRESETS["cmt_micro"].to_dict()},
            ]
        ),
        "trials": st.integers(1, 500),
        "knobs": st.fixed_dictionaries(
            {"width": knob_data},
            optional={
                "depth": knob_data,
                "resolution": st.just({"min": 14, "max": 28, "log": True}),
                "stage_ratio": st.just({"min": 0.25, "max": 0.75, "step": 0.25}) | st.just(0.5),
            },
        ),
    },
    optional={
        "caps": st.just({"macs": "30G", "params": 10**9}),
        "tolerance": st.floats(0.001, 0.4),
        "fidelities": st.just({"epochs": [1, 3, 9]}),
        "objectives": st.just(["loss", "params", "macs"]),
        "proxy": st.fixed_dictionaries(
            {"recipe": st.fixed_dictionaries({"lr": st.floats(1e-6, 1), "clip_grad": st.just(1)})},
            optional={"data_fraction": st.floats(0.01, 1), "epochs": st.integers(1, 9)},
        ),
    },
)


@settings(max_examples=15)
@given(data=space_data)
def test_a_pareto_space_survives_a_yaml_round_trip(data: dict[str, Any]) -> None:
    _survives(data)


@pytest.mark.parametrize("budgets", [{"times_base": [3.5]}, ["2.5M", 4000000]])
def test_a_rule_space_survives_a_yaml_round_trip(budgets: object) -> None:
    point = {"name": "mine", "depth": 0.25, "width": 0.25, "resolution": 0.5}
    _survives(
        {
            **RULE,
            "budgets": budgets,
            "knobs": {"stage_ratio": 0.6, "resolution": {"max": 28}},
            "caps": {"params": "1M", "activations": 2e6},
            "sampler": {"lattice": 4, "replicates": 2, "rules": ["dwr"], "points": [point]},
            "proxy": {"dataset": {"name": "folder", "root": "x", "size": 64}},
        }
    )


def test_a_written_space_loads_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(_space(RULE).to_yaml(), encoding="utf-8")
    assert load_space(file) == _space(RULE)


def _changed(data: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    first, _, rest = path.partition(".")
    inner = _changed(data.get(first, {}), rest, value) if rest else value
    return {**data, first: inner}


@pytest.mark.parametrize(("path", "value"), [("trials", 40), ("proxy.dataset.root", "there")])
def test_more_trials_or_the_same_images_elsewhere_keep_the_fingerprint(
    path: str, value: object
) -> None:
    assert _space(_changed(RULE, path, value)).fingerprint == _space(RULE).fingerprint


def test_the_spelling_of_a_budget_keeps_the_fingerprint() -> None:
    prints = {_space({**RULE, "budgets": b}).fingerprint for b in (["1.5M"], [1500000], [1.5e6])}
    assert len(prints) == 1


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("base.preset", "cmt_nano"),
        ("base.in_chans", 1),
        ("budgets", {"times_base": [4]}),
        ("knobs.depth", {"max": 30}),
        ("knobs.resolution", {"step": 1}),
        ("knobs.stage_ratio", 0.5),
        ("tolerance", 0.02),
        ("caps.params", "10M"),
        ("caps.activations", "10M"),
        ("proxy.dataset.name", "fashion-mnist"),
        ("proxy.dataset.split", "test"),
        ("proxy.epochs", 5),
        ("proxy.data_fraction", 0.5),
        ("proxy.recipe", {"lr": 0.001}),
        ("proxy.recipe", {"augment": {"flip": False}}),
        ("sampler.name", "random"),
        ("sampler.lattice", 4),
        ("sampler.replicates", 4),
        ("sampler.rules", ["dwr"]),
        ("sampler.points", [{"name": "mine", "depth": 0.5, "width": 0.5, "resolution": 0}]),
        ("seeds", 2),
        ("seed", 1),
    ],
)
def test_every_key_that_changes_a_trial_changes_the_fingerprint(path: str, value: object) -> None:
    assert _space(_changed(RULE, path, value)).fingerprint != _space(RULE).fingerprint


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("fidelities", {"epochs": [1, 2]}),
        ("objectives", ["top1"]),
        ("knobs.depth.max", 13),
        ("knobs.depth.step", 2),
        ("caps", {"macs": "1G"}),
    ],
)
def test_every_key_that_changes_a_pareto_trial_changes_the_fingerprint(
    path: str, value: object
) -> None:
    assert _space(_changed(PARETO, path, value)).fingerprint != _space(PARETO).fingerprint


def test_a_space_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        _space(RULE).seed = 3  # type: ignore[misc]
