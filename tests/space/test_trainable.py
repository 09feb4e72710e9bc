"""What cannot be trained is refused before anything is made, with file, key and remedy."""

from pathlib import Path

import pytest

from cmt_search.cli import invoke
from cmt_search.errors import SpaceError
from cmt_search.space import check_trainable, parse_space
from tests.messages import mentions

SPACE = """
kind: rule
base: {{preset: cmt_pico, resolution: {side}, in_chans: {chans}, num_classes: {classes}}}
knobs: {{resolution: {{step: 2}}}}
budgets: {{times_base: [3]}}
tolerance: 0.05
proxy: {{dataset: {{name: {name}{rest}}}}}
"""


def text(name: str, *, rest: str = "", side: int = 14, chans: int = 3, classes: int = 10) -> str:
    return SPACE.format(name=name, rest=rest, side=side, chans=chans, classes=classes)


def images(folder: Path, classes: int) -> str:
    """Make the folders of an image set; no images are needed."""
    for index in range(classes):
        (folder / "train" / f"c{index}").mkdir(parents=True)
    return f", size: 28, root: {folder}"


def check(source: str) -> None:
    check_trainable(parse_space(source, source="s.yaml"), file=Path("s.yaml"))


@pytest.mark.parametrize("name", ["folder", "fashion-mnist", "cifar10", "'timm:'"])
def test_a_missing_root_is_refused(name: str, tmp_path: Path) -> None:
    size = ", size: 28" if name in ("folder", "'timm:'") else ""
    chans = 1 if name == "fashion-mnist" else 3
    with pytest.raises(SpaceError) as caught:
        check(text(name, rest=f"{size}, root: {tmp_path / 'no'}", chans=chans))
    assert mentions(str(caught.value), "s.yaml ... proxy.dataset.root ... not exist ... set it to")


def test_a_root_without_the_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"proxy\.dataset\.root.*cifar-10-batches-py"):
        check(text("cifar10", rest=f", root: {tmp_path}"))
    with pytest.raises(SpaceError, match=r"proxy\.dataset\.root.*train/CLASS/IMAGE"):
        check(text("folder", rest=f", size: 28, root: {tmp_path}"))


def test_classes_are_those_of_the_folder(tmp_path: Path) -> None:
    rest = images(tmp_path, 3)
    with pytest.raises(SpaceError, match=r"base\.num_classes: is 10.*has 3.*num_classes: 3"):
        check(text("folder", rest=rest))
    check(text("folder", rest=rest, classes=3))
    check(text("folder", rest=rest + ", classes: 2", classes=2))


def test_channels_are_those_of_the_images() -> None:
    with pytest.raises(SpaceError, match=r"base\.in_chans: is 3.*set base\.in_chans: 1"):
        check(text("fashion-mnist-10k"))


def test_a_base_above_the_native_resolution_leaves_no_rule() -> None:
    with pytest.raises(SpaceError, match=r"base\.resolution: 30 px.*28 px.*base\.resolution: 14"):
        check(text("fashion-mnist-10k", side=30, chans=1))
    check(text("fashion-mnist-10k", side=28, chans=1))


@pytest.mark.parametrize("words", [["validate"], ["run"], ["run", "--dry-run"], ["calibrate"]])
def test_every_command_refuses_it_and_leaves_nothing(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(text("folder", rest=", size: 28, root: no"))
    assert invoke([words[0], "s.yaml", *words[1:]]) == 2
    assert mentions(capsys.readouterr().err, "s.yaml ... proxy.dataset.root")
    assert [path.name for path in tmp_path.iterdir()] == ["s.yaml"]
