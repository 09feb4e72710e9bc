"""Editing a space file keeps what a person wrote."""

from pathlib import Path

import pytest

from cmt_search.errors import SpaceError
from cmt_search.space import load_space
from cmt_search.space.load import edit_space

TEXT = """\
# What:  a search
kind: rule
base: {preset: cmt_nano, resolution: 16}
budgets: {times_base: [3, 6]}  # twice
proxy:
  # how long
  epochs: 4  # passes
  recipe: {batch: 64}
"""


def test_values_change_and_comments_stay(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(TEXT)
    edit_space(file, {"proxy.epochs": 2, "proxy.data_fraction": 0.5, "proxy.recipe.lr": 0.002})
    assert file.read_text() == TEXT.replace("epochs: 4", "epochs: 2").replace(
        "{batch: 64}\n", "{batch: 64, lr: 0.002}\n  data_fraction: 0.5\n"
    )
    assert load_space(file).proxy.data_fraction == 0.5
    assert list(tmp_path.iterdir()) == [file]


def test_a_change_that_makes_the_file_invalid_is_refused_and_the_file_stays(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(TEXT)
    with pytest.raises(SpaceError, match="epochs"):
        edit_space(file, {"proxy.epochs": 0})
    assert file.read_text() == TEXT
    assert list(tmp_path.iterdir()) == [file]


def test_a_linked_file_with_its_mode_is_edited_in_place(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    file, link = folder / "space.yaml", tmp_path / "link.yaml"
    file.write_text(TEXT)
    file.chmod(0o640)
    link.symlink_to(file)
    edit_space(link, {"proxy.epochs": 2})
    assert link.is_symlink()
    assert load_space(file).proxy.epochs == 2
    assert file.stat().st_mode & 0o777 == 0o640


def test_an_invalid_change_is_refused_by_the_name_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(TEXT)
    with pytest.raises(SpaceError) as caught:
        edit_space(file, {"proxy.epochs": 0})
    assert str(caught.value).startswith(f"{file}: proxy.epochs: ")
