"""What is no space file at all is refused with its path and, where there is one, the line."""

import itertools
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from cmt_search.errors import SpaceError
from cmt_search.presets import PRESETS
from cmt_search.space import load_space, parse_space
from tests.space.broken import RULE, says


def test_all_errors_are_reported_together() -> None:
    says(
        "kind: sideways\nbase: {preset: cmt_pico}\nseeds: 0\ntrial: 3",
        "kind: use rule, shape, pareto",
        "seeds: use a whole number from 1 to 100",
        "trial: did you mean trials?",
    )
    says("knobs: {}", "kind: add it", "base: add it")


@pytest.mark.parametrize("text", ["", "3", "- rule", "# only a comment"])
def test_a_file_that_holds_no_mapping_is_refused(text: str) -> None:
    says(text, "holds no mapping; begin with `kind: rule` and `base:`")


ALIASES = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "\n".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]"
    for before, name in itertools.pairwise("abcdefgh")
)


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("kind: [rule", "line 1, column 12", "expected ','"),
        ("kind: rule\n\tbase: 3", "line 2, column 1", "cannot start any token"),
        ("? [a]\n: 3", "line 1, column 3", "unhashable"),
        ("a: !!x 1", "line 1, column 4", "the tag !!x is not supported; remove it"),
        ("a: !mine 1", "line 1, column 4", "the tag !mine is not supported; remove it"),
        ("!!map [a]", "line 1, column 1", "expected a mapping"),
        ("kind: rule\nbase: {}\nkind: pareto", "line 3, column 1", "kind is written twice"),
        (RULE + "proxy: {epochs: 3, epochs: 4}", "line 5, column 20", "keep one of them"),
        ("a: !!int abc", "line 1, column 4", "remove its tag"),
        ("a: !!bool 3", "line 1, column 4", "remove its tag"),
        ("a: !!float x", "line 1, column 4", "remove its tag"),
        ("a: !!timestamp x", "line 1, column 4", "remove it"),
        ("a: !!binary aGk=", "line 1, column 4", "remove it"),
        ("a: !!python/object:os.system x", "line 1, column 4", "remove it"),
        ("trials: " + "9" * 5000, "line 1, column 9", "digits"),
        ("a: " + "[" * 3000, "line 1, column 43", "nested"),
        ("a: " + "{b: " * 3000, "line 1, column", "nested"),
        ("a: &a [*a]", "line 1, column 8", "contains itself"),
        ("a: *b", "line 1, column 4", "undefined alias"),
        (ALIASES, "line 5, column", "shorten it"),
        ("a: [" + "1," * 100_000 + "]", "line 1, column", "shorten it"),
        ("\n".join(f"k{i}: 1" for i in range(100_000)), "line 25000", "shorten it"),
    ],
)
def test_yaml_beyond_plain_values_is_refused_with_its_place(
    text: str, place: str, words: str
) -> None:
    with pytest.raises(SpaceError) as caught:
        parse_space(text, source="my/space.yaml")
    message = str(caught.value)
    assert message.startswith(f"my/space.yaml: invalid YAML: {place}")
    assert words in message
    assert len(message) < 500


def test_a_date_is_text() -> None:
    says(RULE + "trials: 2020-99-99", "trials: use a whole number")
    says(RULE + "trials: 2020-01-01", "trials: use a whole number")


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("proxy: {recipe: {lr: 1.0e+300}}", "proxy.recipe.lr"),
        ("proxy: {recipe: {batch: 1e30}}", "proxy.recipe.batch"),
        ("proxy: {epochs: 1.0e+30}", "proxy.epochs"),
        ("proxy: {epochs: .inf}", "proxy.epochs"),
        ("proxy: {data_fraction: 1.0e-9}", "proxy.data_fraction"),
        ("proxy: {steps: 1e18}", "proxy.steps"),
        ("sampler: {replicates: 1000000}", "sampler.replicates"),
        ("sampler: {initial_points: 1000000}", "sampler.initial_points"),
        ("seeds: 1000000", "seeds"),
        ("trials: 1" + "0" * 30, "trials"),
        ("fidelities: {reduction_factor: 1000, epochs: [1, 2]}", "fidelities.reduction_factor"),
        ("latency: {batch: 1e9}", "latency.batch"),
        ("knobs: {width: {max: 1.0e+18}}", "knobs.width.max"),
        ("caps: {params: 1e30}", "caps.params"),
    ],
)
def test_every_number_has_a_range_which_is_named(line: str, path: str) -> None:
    with pytest.raises(SpaceError, match=rf"^x: {re.escape(path)}: .*(from|above|text)"):
        parse_space(RULE + line, source="x")


@pytest.mark.parametrize(
    ("base", "path"),
    [
        ("preset: cmt_pico, kv_stride: 1000000000", "base.kv_stride"),
        ("preset: cmt_pico, resolution: 1", "base.resolution"),
        ("preset: cmt_pico, resolution: 1000000", "base.resolution"),
        (f"arch: {replace(PRESETS['cmt_pico'], resolution=1).to_dict()}", "base"),
    ],
)
def test_a_base_has_sizes_within_ranges(base: str, path: str) -> None:
    says(f"kind: rule\nbase: {{{base}}}\nbudgets: {{times_base: [3]}}", f"{path}: use")


@pytest.mark.parametrize("value", ["[4, 1.0e+308]", "[4, 1.0e+300]", "[.nan]", f"[{'3, ' * 100}]"])
def test_multiples_of_the_base_are_bounded(value: str) -> None:
    says(
        f"kind: rule\nbase: {{preset: cmt_pico}}\nbudgets: {{times_base: {value}}}",
        "budgets.times_base: a ",
    )


def test_messages_stay_short_whatever_a_file_holds() -> None:
    keys = "\n".join(f"{'k' * 1000}{i}: {'v' * 1000}" for i in range(400))
    for text in (RULE + keys, RULE + f"trials: {'x' * 900_000}", f"{'k' * 900_000}: 1"):
        with pytest.raises(SpaceError) as caught:
            parse_space(text, source="x")
        assert len(str(caught.value)) < 10_000


def test_merge_keys_may_repeat_a_key() -> None:
    text = "sampler: {<<: {lattice: 2, replicates: 2}, lattice: 4}"
    sampler = parse_space(RULE + text, source="x").sampler
    assert (sampler.lattice, sampler.replicates) == (4, 2)


def test_a_file_that_cannot_be_read_is_refused_by_path(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"kind: \xff")
    (tmp_path / "large.yaml").write_text("a: " + "[1, 2, 3, 4]," * 1_000_000)
    os.mkfifo(tmp_path / "fifo")
    for name, words in (
        ("none.yaml", "No such file"),
        ("", "is not a regular file"),
        ("fifo", "is not a regular file"),
        ("latin.yaml", "codec"),
        ("large.yaml", "bytes"),
    ):
        with pytest.raises(SpaceError) as caught:
            load_space(tmp_path / name)
        message = str(caught.value)
        assert message.startswith(f"{tmp_path / name}: ")
        assert message.endswith("; give the path of a space file")
        assert words in message


def test_the_errors_of_a_file_begin_with_its_path(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(RULE + "seeds: 0")
    with pytest.raises(SpaceError, match=rf"^{file}: seeds: .*from 1 to 100$"):
        load_space(str(file))


def test_invalid_yaml_is_named_on_one_line() -> None:
    says("kind: rule\nbase: {preset: cmt_pico\nknobs: {}\n", "invalid YAML: line 3, column 6")
