"""The options of every command that trains."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from cmt_search.cli import invoke
from cmt_search.cli.options import Launch
from cmt_search.errors import CmtSearchError, RunError
from cmt_search.search import read_trials
from tests.cli.test_interrupted import Start, start
from tests.cli.test_mistakes import grows
from tests.messages import mentions

__all__ = ["start"]  # a fixture


@pytest.mark.parametrize("command", ["run", "resume", "confirm", "calibrate"])
def test_commands_that_train_share_their_options(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke([command, "--help"]) == 0
    offered = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    assert {"--" + name.replace("_", "-") for name in Launch.__dataclass_fields__} <= offered


def test_they_reach_the_search() -> None:
    launch = Launch(retries=4, time_limit="2h", trial_time_limit="30m", gpus_per_trial=0.5)
    options = launch.options
    assert (options["retries"], options["time_limit"]) == (4, 7200)
    assert (options["trial_time_limit"], options["gpus_per_trial"]) == (1800, 0.5)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"executor": "slurm"}, "--executor 'slurm' ... use ray, inline"),
        ({"time_limit": "soon"}, "--time-limit 'soon'"),
        ({"trial_time_limit": "0s"}, "--trial-time-limit '0s'"),
        ({"log": ["comet"]}, "--log 'comet'"),
    ],
)
def test_wrong_ones_are_refused_before_anything_is_read(given: dict[str, Any], told: str) -> None:
    with pytest.raises(CmtSearchError) as caught:
        Launch(**given)
    assert mentions(str(caught.value), told)


def test_a_package_that_is_missing_is_named_before_a_run_is_made(
    start: Start,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert start(grows, "--log", "wandb") == 2
    assert mentions(capsys.readouterr().err, "--log wandb ... pip install")
    assert not (tmp_path / "tiny").exists()


def test_a_run_is_logged_where_the_option_says(start: Start, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    assert start(grows, "--log", f"tensorboard={tmp_path}/logs") == 0
    (place,) = (tmp_path / "logs").iterdir()  # runs of one name do not share a place
    assert place.name.startswith("tiny-")
    folders = sorted(place.iterdir())
    assert [folder.name for folder in folders] == [f"trial-{i:04d}" for i in range(6)]


def test_a_run_begins_in_the_database_of_the_variable_unless_it_has_one(
    start: Start,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ours, theirs = (f"sqlite:///{tmp_path}/{name}.db" for name in ("ours", "theirs"))
    monkeypatch.setenv("CMT_SEARCH_STORAGE", theirs)
    assert start(grows, "--storage", ours) == 0
    assert not (tmp_path / "theirs.db").exists()
    assert start(grows, "--name", "second") == 0
    assert not (tmp_path / "second" / "study.db").exists()
    assert len(read_trials(tmp_path / "second")) == 6
    with pytest.raises(RunError, match=r"sqlite:.*ours\.db"):
        read_trials(tmp_path / "tiny")
    capsys.readouterr()
    assert invoke(["status", str(tmp_path / "tiny"), "--storage", ours]) == 0
    assert "6 of 6 trials" in capsys.readouterr().out
