"""calibrate: which cheap training predicts the expensive one, how noisy each is, and at which
learning rate."""

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cmt_search.cli.options import Json, Launch, Runs, SpaceArgument, launches, run_name
from cmt_search.errors import CmtSearchError
from cmt_search.io import atomic_write

if TYPE_CHECKING:
    from cmt_search.search import FidelityLevel
    from cmt_search.space import SearchSpace

NONE = "none"


@launches
def calibrate(
    space: SpaceArgument,
    launch: Launch,
    epochs: Annotated[
        str | None,
        typer.Option(
            help="Epoch counts to compare; the longest is the reference. Default: 1/4, 1/2, 1 and "
            "4 times the space's."
        ),
    ] = None,
    data_fractions: Annotated[
        str, typer.Option(help="Fractions of the training images to compare, or none.")
    ] = "0.5",
    image_scales: Annotated[
        str, typer.Option(help="Fractions of each network's resolution to compare, or none.")
    ] = "0.75",
    networks: Annotated[
        int, typer.Option(min=3, help="Networks per budget; for a pareto search, in total.")
    ] = 6,
    seeds: Annotated[int, typer.Option(min=2, help="Seeds per network, to estimate noise.")] = 2,
    lr_multipliers: Annotated[
        str, typer.Option(help="Learning-rate multipliers to try besides 1, or none.")
    ] = "0.5,2",
    zero_cost_proxies: Annotated[
        bool, typer.Option(help="Whether to evaluate zero-cost proxies.")
    ] = True,
    update_space: Annotated[
        bool, typer.Option("--update-space", help="Write the chosen training to the space file.")
    ] = False,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the calibration; default: the space file's.", callback=run_name),
    ] = None,
    runs: Runs = Path("runs"),
    json: Json = False,
) -> None:
    """Which cheap training predicts the expensive one, how noisy each is, and at which rate."""
    from cmt_search.cli.calibration_output import show, to_dict, write_choice
    from cmt_search.cli.calibration_run import CalibrationRun
    from cmt_search.cli.console import print_json, say, say_paths
    from cmt_search.space import check_trainable, load_space

    wanted = load_space(space)
    check_trainable(wanted, file=space)
    levels = _levels(wanted, epochs=epochs, fractions=data_fractions, scales=image_scales)
    work = CalibrationRun(
        space=wanted,
        levels=levels,
        networks=networks,
        seeds=seeds,
        folder=runs / (name or f"{space.stem}-calibration"),
        launch=launch,
        quiet=json,
    )
    factors = [
        factor for factor in _numbers(lr_multipliers, option="--lr-multipliers") if factor != 1
    ]
    if len(factors) == 1:
        raise CmtSearchError(
            f"--lr-multipliers {lr_multipliers}: two besides 1 are needed, one on either side; "
            "write 0.5,2, or none"
        )
    found = work.execute(rates=factors, scores=zero_cost_proxies)
    result = to_dict(found, levels=levels)
    file = work.folder / "calibration.json"
    atomic_write(file, jsonlib.dumps(result, indent=2, allow_nan=False) + "\n")
    told = write_choice(space, found, levels=levels, space=wanted) if update_space else ()
    if json:
        print_json(result | {"written": list(told)})
        return
    say_paths([file])
    show(found, levels=levels)
    for line in (*told, f"calibration: {file}"):
        say(line)


def _levels(
    space: "SearchSpace", *, epochs: str | None, fractions: str, scales: str
) -> "tuple[FidelityLevel, ...]":
    """List the levels to train: every length, other savings at the usual one; the longest last.

    Raises:
        CmtSearchError: an option is not a list of numbers, or there is nothing to compare.
    """
    from cmt_search.search import FidelityLevel

    if space.proxy.steps is not None or space.proxy.seconds is not None:
        raise CmtSearchError(
            "calibrate compares lengths in epochs, and proxy.steps or proxy.seconds cuts them off; "
            "remove them from the space file during a calibration"
        )
    usual, part = space.epoch_schedule[-1], space.proxy.data_fraction
    side = space.proxy.image_scale
    lengths = {usual, *(max(1, usual // cut) for cut in (4, 2)), 4 * usual}
    if epochs is not None:
        lengths = {usual, *map(round, _numbers(epochs, option="--epochs"))}
    if min(lengths) < 1 or len(lengths) < 2:
        raise CmtSearchError(
            f"--epochs {epochs} leaves nothing to compare with the space's {usual}; write 1,2,4"
        )
    savings = [
        *(
            FidelityLevel(epochs=usual, data_fraction=part * x, image_scale=side)
            for x in _parts(fractions, "data-fractions")
        ),
        *(
            FidelityLevel(epochs=usual, data_fraction=part, image_scale=side * x)
            for x in _parts(scales, "image-scales")
        ),
    ]
    plain = [
        FidelityLevel(epochs=length, data_fraction=part, image_scale=side)
        for length in sorted(lengths)
    ]
    return (*savings, *plain)


def _parts(text: str, option: str) -> list[float]:
    found = _numbers(text, option=f"--{option}")
    if any(not 0 < part < 1 for part in found):
        raise CmtSearchError(
            f"--{option} {text}: fractions must be between 0 and 1; write 0.5, or none"
        )
    return found


def _numbers(text: str, *, option: str) -> list[float]:
    """Parse the distinct numbers of a list such as 0.5,2; empty for none."""
    if text == NONE:
        return []
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or any(not 0 < number < float("inf") for number in found):
        raise CmtSearchError(f"{option} {text!r}: expected numbers above 0; write 0.5,2, or none")
    return sorted(set(found))
