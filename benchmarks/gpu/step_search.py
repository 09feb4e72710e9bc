"""A rule search of minutes, whose run comes back with the results."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from plan import ROOT, Context, Row, python_path

MINUTES = 5.0
QUICK_SPACE = """\
kind: rule
base: {preset: cmt_pico, in_chans: 1}
knobs: {resolution: {step: 2, max: 28}}
budgets: {times_base: [4]}
tolerance: 0.05
proxy:
  dataset: {name: fashion-mnist-10k}
  epochs: 1
  data_fraction: 0.02
  recipe: {batch: 64}
sampler: {name: design, lattice: 2, augmented: false}
trials: 2
"""
COMMAND = "import sys; from cmt_search.cli import main; sys.exit(main())"


def measure(context: Context) -> Iterator[Row]:
    """Search with the inline executor: one training at a time."""
    yield from run_search(context, name="inline", options=["--executor", "inline"])


def run_search(context: Context, *, name: str, options: list[str]) -> Iterator[Row]:
    """Search for some minutes; yield a row on what was trained."""
    if name in context.done:
        return
    space = context.folder / f"space-{name}.yaml"
    space.write_text(space_text(context))
    runs = context.folder / "runs"
    where = ["--name", name, "--runs", str(runs), "--json"]
    limit = [] if context.quick else ["--time-limit", f"{MINUTES:g}m"]
    began = time.perf_counter()
    cmt_search("run", str(space), *where, *limit, "--device", context.device, *options)
    wall = time.perf_counter() - began
    status = json.loads(cmt_search("status", str(runs / name), "--json"))
    (context.folder / f"status-{name}.json").write_text(json.dumps(status, indent=1) + "\n")
    yield {"case": name, "wall_seconds": round(wall, 1), **training_totals(runs / name, wall=wall)}


def space_text(context: Context) -> str:
    """Return the space file: CIFAR-10 where it was given, else the images of the package."""
    if context.quick:
        return QUICK_SPACE
    spaces = ROOT / "search_spaces"
    if context.data is None:
        return (spaces / "quickstart.yaml").read_text()
    is_torchvision = (context.data / "cifar-10-batches-py").is_dir()
    kind = "name: cifar10" if is_torchvision else "name: folder, size: 32"
    text = (spaces / "cmt_rule.yaml").read_text()
    return text.replace("{name: cifar10, root: data/cifar10}", f"{{{kind}, root: {context.data}}}")


def cmt_search(*arguments: str) -> str:
    """Run a command of the package; return what it prints."""
    environment = {**os.environ, "PYTHONPATH": python_path()}
    answer = subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        env=environment,
    )
    if answer.returncode:
        raise SystemExit(f"cmt-search {arguments[0]} ended with {answer.returncode}")
    return answer.stdout


def training_totals(run: Path, *, wall: float) -> Row:
    """Count trainings and their seconds, by the study."""
    from cmt_search.search import read_trials

    trials = read_trials(run)
    rungs = [rung for trial in trials for rung in trial.rungs]
    seconds = sum(trial.seconds for trial in trials)
    top1 = [measurement.top1 for rung in rungs for measurement in rung.measurements]
    return {
        "trials": len(trials),
        "trainings": sum(not reused for rung in rungs for reused in rung.reused),
        "training_seconds": round(seconds, 1),
        "trainings_at_a_time": round(seconds / wall, 3),  # on average
        "best_top1": max(top1, default=""),
    }
