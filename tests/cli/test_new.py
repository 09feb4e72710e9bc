"""`new` writes files that validate, and asks for nothing where nobody can answer."""

import io
import json
from pathlib import Path

import pytest

from cmt_search.cli import invoke
from cmt_search.space import load_space
from tests.messages import mentions


@pytest.mark.parametrize("kind", ["rule", "shape", "pareto"])
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
        (
            ["--kind", "rules"],
            "--kind 'rules' ... did you mean rule? Known are rule, shape, pareto",
        ),
        (["--kind", "x"], "--kind 'x' ... use rule, shape, pareto"),
        (["--dataset", "cifar"], "--dataset 'cifar' ... did you mean cifar10? Known are"),
        (["--dataset", "folder", "--root", "nowhere"], "holds 0 folders of classes ... --root"),
    ],
)
def test_answers_that_make_no_space_are_explained(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["new", str(tmp_path / "mine.yaml"), *arguments]) == 2
    assert mentions(capsys.readouterr().err, message)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_exists_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("kept")
    assert invoke(["new", str(file)]) == 2
    assert "--force" in capsys.readouterr().err
    assert file.read_text() == "kept"
    assert invoke(["new", str(file), "--force"]) == 0
    assert file.read_text() != "kept"


def test_a_mistyped_preset_is_recognised(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["profile", "cmt_tii"]) == 2
    assert mentions(capsys.readouterr().err, "cmt_tii ... did you mean cmt_ti?")


def test_debug_shows_where_an_error_came_from() -> None:
    with pytest.raises(Exception, match="neither a preset nor a file"):
        invoke(["--debug", "profile", "nothing"])


def test_what_cannot_be_written_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["new", str(tmp_path), "--force"]) == 2
    assert mentions(capsys.readouterr().err, f"{tmp_path} is a folder")
    (tmp_path / "plain").write_text("")
    below = tmp_path / "plain" / "mine.yaml"
    assert invoke(["new", str(below)]) == 2
    assert f"{below} cannot be written (" in capsys.readouterr().err


def test_the_answers_are_printed_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.yaml"
    assert invoke(["new", str(file), "--kind", "shape", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "file": str(file),
        "kind": "shape",
        "dataset": "fashion-mnist-10k",
        "root": None,
        "side": 28,
        "classes": 10,
        "epochs": 1,
    }


class Terminal(io.StringIO):
    """What a person types."""

    def isatty(self) -> bool:
        return True


def test_a_wrong_answer_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("rules\nshape\n\n0\nmany\n3\n"))
    file = tmp_path / "mine.yaml"
    assert invoke(["new", str(file)]) == 0
    space = load_space(file)
    assert (space.kind, space.proxy.epochs) == ("shape", 3)
    told = capsys.readouterr().err
    assert mentions(told, "--kind 'rules' ... did you mean rule?")
    assert mentions(told, "--epochs '0' ... write a whole number from 1 on")


def test_the_next_command_can_be_pasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke(["new", "my space.yaml"]) == 0
    assert "then: cmt-search validate 'my space.yaml'" in capsys.readouterr().out
    assert "#             cmt-search run 'my space.yaml'\n" in Path("my space.yaml").read_text()
    assert invoke(["new", "--", "-x.yaml"]) == 0
    assert "then: cmt-search validate ./-x.yaml" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--root", "--dataset"])
def test_a_folder_of_images_needs_no_further_word(option: str, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "pets" / "train" / name).mkdir(parents=True)
    file = tmp_path / "mine.yaml"
    assert invoke(["new", str(file), option, str(tmp_path / "pets")]) == 0
    dataset = load_space(file).proxy.dataset
    assert (dataset.name, dataset.root) == ("folder", str(tmp_path / "pets"))


@pytest.mark.parametrize("kind", ["rule", "shape", "pareto"])
def test_options_set_the_size_of_the_search(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    given = ["--trials", "7", "--seeds", "3", "--data-fraction", "0.25", "--epochs", "2"]
    given += ["--budgets", "2M,1M"] * (kind != "pareto")
    assert invoke(["new", str(file), "--kind", kind, *given]) == 0
    space = load_space(file)
    assert (space.trials, space.seeds, space.proxy.epochs) == (7, 3, 2)
    assert space.proxy.data_fraction == 0.25
    assert space.budget_macs == (() if kind == "pareto" else (1e6, 2e6))


def test_a_pareto_search_has_no_budgets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.yaml"
    assert invoke(["new", str(file), "--kind", "pareto", "--budgets", "2M"]) == 2
    assert mentions(capsys.readouterr().err, "--budgets ... pareto ... --kind rule")
    assert not file.exists()
