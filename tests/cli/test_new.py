"""`new` writes files that validate, and asks for nothing where nobody can answer."""

from pathlib import Path

import pytest

from cmt_search.cli import invoke
from cmt_search.space import load_space


@pytest.mark.parametrize("kind", ["rule", "pareto"])
def test_without_questions_it_writes_a_valid_file_with_comments(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.yaml"
    assert invoke(["new", str(file), "--kind", kind]) == 0
    space = load_space(file)
    assert space.kind == kind
    assert (space.arch.resolution, space.arch.in_chans) == (14, 1)
    text = file.read_text()
    assert text.startswith("# What: ")
    assert "# what is sampled" in text or "# Rules are compared" in text
    assert f"cmt-search validate {file}" in capsys.readouterr().out


def test_a_folder_is_looked_at_for_its_classes(tmp_path: Path) -> None:
    for name in ("cat", "dog", "eel"):
        (tmp_path / "pets" / "train" / name).mkdir(parents=True)
    file = tmp_path / "mine.yaml"
    given = ["--dataset", "folder", "--root", str(tmp_path / "pets"), "--size", "64"]
    assert invoke(["new", str(file), *given]) == 0
    space = load_space(file)
    assert (space.arch.num_classes, space.arch.resolution) == (3, 32)
    assert space.proxy.dataset.size == 64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kind", "rules"], "--kind 'rules' is unknown; use rule, pareto"),
        (["--dataset", "mnist"], "--dataset 'mnist' is unknown; use fashion-mnist-10k"),
        (["--dataset", "folder", "--root", "nowhere"], "holds 0 folders of classes; point --root"),
    ],
)
def test_answers_that_make_no_space_are_explained(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["new", str(tmp_path / "mine.yaml"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_exists_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("kept")
    assert invoke(["new", str(file)]) == 2
    assert "exists; give another name, or --force" in capsys.readouterr().err
    assert file.read_text() == "kept"
    assert invoke(["new", str(file), "--force"]) == 0
    assert file.read_text() != "kept"


def test_a_mistyped_preset_is_recognised(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["profile", "cmt_tii"]) == 2
    assert "cmt_tii is neither a preset nor a file; did you mean cmt_ti?" in capsys.readouterr().err


def test_debug_shows_where_an_error_came_from() -> None:
    with pytest.raises(Exception, match="neither a preset nor a file"):
        invoke(["--debug", "profile", "nothing"])
