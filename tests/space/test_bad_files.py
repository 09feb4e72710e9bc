"""What is no space file at all is refused with its path and, where there is one, the line."""

from pathlib import Path

import pytest

from cmt_search.errors import SpaceError
from cmt_search.space import load_space, parse_space
from tests.space.broken import RULE, says


def test_all_errors_are_told_at_once() -> None:
    says(
        "kind: sideways\nbase: {preset: cmt_pico}\nseeds: 0\ntrial: 3",
        "kind: 'sideways' is not possible; use 'rule', 'shape' or 'pareto'",
        "seeds: 0 is not possible; write greater than or equal to 1",
        "trial: is unknown; did you mean trials?",
    )
    says("knobs: {}", "kind: is missing; add it", "base: is missing; add it")


@pytest.mark.parametrize("text", ["", "3", "- rule", "# only a comment"])
def test_a_file_that_holds_no_mapping_is_refused(text: str) -> None:
    says(text, "holds no mapping; begin with `kind: rule` and `base:`")


@pytest.mark.parametrize("text", ["kind: [rule", "kind: rule\n\tbase: 3", "? [a]\n: 3", "a: !!x 1"])
def test_what_is_no_yaml_is_refused_with_the_place(text: str) -> None:
    with pytest.raises(SpaceError) as caught:
        parse_space(text, source="my/space.yaml")
    message = str(caught.value)
    assert message.startswith("my/space.yaml: is no YAML; mend this: ")
    assert "line 1, column" in message or "line 2, column" in message


def test_a_key_written_twice_is_refused_with_its_line() -> None:
    says(
        "kind: rule\nbase: {preset: cmt_s}\nkind: pareto",
        "line 3: kind is written twice; keep one of them",
    )
    says(
        RULE + "proxy: {epochs: 3, batch: 2, epochs: 4}",
        "line 5: epochs is written twice; keep one of them",
    )


def test_merge_keys_may_repeat_a_key() -> None:
    text = "sampler: {<<: {lattice: 2, replicates: 2}, lattice: 4}"
    sampler = parse_space(RULE + text, source="x").sampler
    assert (sampler.lattice, sampler.replicates) == (4, 2)


def test_a_file_that_cannot_be_read_is_refused_by_path(tmp_path: Path) -> None:
    missing = tmp_path / "none.yaml"
    with pytest.raises(SpaceError) as caught:
        load_space(missing)
    message = str(caught.value)
    assert message.startswith(f"{missing}: cannot be read (")
    assert message.endswith("; give the path of a space file")
    assert "No such file" in message
    with pytest.raises(SpaceError, match=r"cannot be read \(.*directory.*\); give the path"):
        load_space(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"kind: \xff")
    with pytest.raises(SpaceError, match=r"latin\.yaml: cannot be read \(.*codec"):
        load_space(tmp_path / "latin.yaml")


def test_a_file_s_errors_begin_with_its_path(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(RULE + "seeds: 0")
    with pytest.raises(SpaceError) as caught:
        load_space(str(file))
    message = "seeds: 0 is not possible; write greater than or equal to 1"
    assert str(caught.value) == f"{file}: {message}"


def test_broken_yaml_is_told_on_one_line() -> None:
    with pytest.raises(SpaceError) as caught:
        parse_space("kind: rule\nbase: {preset: cmt_pico\nknobs: {}\n", source="a.yaml")
    assert str(caught.value) == (
        "a.yaml: is no YAML; mend this: line 3, column 6: expected ',' or '}', but got ':' "
        "(while parsing a flow mapping)"
    )
