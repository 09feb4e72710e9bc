"""`calibrate` on trainings whose truth is known: what it chooses, says and writes."""

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cmt_search.arch import Arch
from cmt_search.cli import invoke
from cmt_search.evaluation import CurvePoint, Fidelity, Measurement
from cmt_search.space import SearchSpace, load_space
from tests.messages import mentions

SPACE = """\
# a note that stays
kind: rule
base: {preset: cmt_pico, in_chans: 1}
knobs: {resolution: {step: 2, max: 28}}
budgets: {times_base: [3, 6]}
tolerance: 0.02
proxy: {epochs: 4}  # long enough?
"""


class Known:
    """Networks differ by their key; a training of one epoch does not see it; wide nets want lower
    rates."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def __call__(
        self, arch: Arch, *, fidelity: Fidelity, seed: int, folder: Path | None = None
    ) -> Measurement:
        worth = int(arch.key, 16) % 1000 / 1000 * 0.1 * (fidelity.epochs > 1)
        best = 0.004 * (arch.stages[0].width / 10) ** -0.5
        off = 0.05 * math.log(self.rate / best) ** 2 * (fidelity.epochs == 4)
        noise = 0.001 * (((seed + 1) * int(arch.key, 16)) % 7 - 3) / 3
        top1 = 0.6 + worth - off + noise
        seconds = float(fidelity.epochs * fidelity.data_fraction)
        point = CurvePoint(epoch=1, train_loss=0.9 * (1 - top1), loss=1 - top1, top1=top1)
        return Measurement(
            top1=top1,
            loss=1 - top1,
            curve=(point,),
            correct=b"\xff",
            images=8,
            seconds=seconds,
            seed=seed,
            device="cpu",
        )


def factory(space: SearchSpace, *, device: str | None) -> Callable[[], Known]:
    return partial(Known, space.proxy.recipe.lr)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("cmt_search.cli.wiring.factory_of", factory)
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    return path


def calibrate(file: Path, *arguments: str) -> int:
    given = [
        "--runs",
        str(file.parent),
        "--executor",
        "inline",
        "--no-zero-cost-proxies",
        *arguments,
    ]
    return invoke(["calibrate", str(file), *given])


def test_it_chooses_the_cheapest_length_that_ranks_and_writes_it_with_the_rates(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    no_others = ["--image-scales", "none", "--data-fractions", "none"]
    assert calibrate(file, "--epochs", "1,2,4,16", *no_others, "--update-space") == 0
    text = capsys.readouterr().out
    folder = file.parent / "space-calibration"
    found = json.loads((folder / "calibration.json").read_text())
    assert found["choice"]["epochs"] == 2
    lengths = [row["level"]["epochs"] for row in found["rows"]]
    assert lengths == [1, 2, 4, 16]
    assert found["lr_scaling"]["slope"]["values"] == pytest.approx([0, -0.5, 0], abs=0.1)
    assert [row["name"] for row in found["scores"]] == ["params", "MACs"]
    after = load_space(file)
    assert after.proxy.epochs == 2
    assert after.proxy.recipe.lr == pytest.approx(0.004, rel=0.2)
    assert after.proxy.recipe.lr_powers[1] == pytest.approx(-0.5, abs=0.1)
    assert file.read_text().startswith("# a note that stays\n")
    assert "now trains 2 epochs" in text
    assert "Cheapest training with a regret within the noise" in text


def test_it_goes_on_where_it_was_and_trains_nothing_twice(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--epochs", "2,4,16", "--lr-multipliers", "none", "--networks", "3", "--json"]
    assert calibrate(file, *arguments) == 0
    first: Any = json.loads(capsys.readouterr().out)

    def refuse(space: SearchSpace, *, device: str | None) -> Callable[[], Known]:
        return lambda: pytest.fail("nothing is left to train")  # type: ignore[return-value]

    monkeypatch.setattr("cmt_search.cli.wiring.factory_of", refuse)
    assert calibrate(file, *arguments) == 0
    assert json.loads(capsys.readouterr().out) == first
    assert first["networks"] == 6
    assert first["lr_scaling"] is None


def test_a_pareto_space_is_calibrated_over_strata_of_macs(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(
        "kind: pareto\nbase: {preset: cmt_pico, in_chans: 1}\ntrials: 9\nproxy: {epochs: 4}\n"
        "knobs: {depth: {min: 4, max: 9}, width: {min: 8, max: 24}}\n"
    )
    assert calibrate(file, "--networks", "8", "--lr-multipliers", "none", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["networks"] >= 6
    macs = {row["name"]: row for row in found["scores"]}["MACs"]
    assert macs["agreement"]["overall"]["value"] < 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "4"], "--epochs 4 ... write 1,2,4"),
        (["--epochs", "two"], "--epochs 'two' ... write 0.5,2, or none"),
        (["--data-fractions", "2"], "--data-fractions 2 ... between 0 and 1"),
        (["--lr-multipliers", "0"], "--lr-multipliers '0'"),
        (["--lr-multipliers", "1,2"], "--lr-multipliers 1,2 ... two besides 1"),
    ],
)
def test_mistakes_are_explained(
    arguments: list[str], message: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate(file, *arguments) == 2
    assert mentions(capsys.readouterr().err, message)


def test_limits_that_cut_lengths_off_are_refused(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(SPACE.replace("epochs: 4", "epochs: 4, steps: 9"))
    assert calibrate(file) == 2
    assert "calibrate compares lengths in epochs" in capsys.readouterr().err


def test_part_of_a_sample_is_not_analysed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert calibrate(file, "--lr-multipliers", "none", "--time-limit", "0.001s") == 2
    told = capsys.readouterr().err.replace("\n", " ")
    assert "repeat the command" in told
    assert not (file.parent / "space-calibration" / "calibration.json").exists()
