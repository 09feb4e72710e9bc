"""Export the trainings of a rule search as a table that `tabular.table` replays.

    python benchmarks/tabular/make.py runs/tabular

fashion.csv   a row per rule, budget, seed and length; fashion.json says what made it, and holds the
networks whole. A rule that lacks a training is left out, and named. The table is for recipes with a
constant rate and averaged weights: what such a training measures after epoch k is what a training
of k epochs gives, so the shorter lengths come from the learning curves.
"""

import argparse
import csv
import io
import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cmt_search.io import atomic_write
from cmt_search.proxy.sources import load_dataset
from cmt_search.proxy.trainer import TrainingLength
from cmt_search.scaling import DIMENSIONS
from cmt_search.search import RunDir, RungRecord, TrialRecord, design_points, read_trials
from cmt_search.space import SearchSpace, load_space

HERE = Path(__file__).parent
LENGTHS = (
    "The rate is constant after the warm-up and the weights are averaged, so the point of a "
    "learning curve after epoch k is what a training of k epochs gives. Its seconds are k/{last} "
    "of the training's."
)
SHORT_WARM_UP = (
    " Its warm-up is {part:g} of the whole training, though; a shorter training alone would have "
    "warmed up in proportionately fewer steps."
)


def main() -> None:
    """Write both files, and say what they hold and lack."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--to", type=Path, default=HERE / "fashion", help="path without .csv")
    args = parser.parse_args()
    space = load_space(RunDir.open(args.run).space)
    trials = tuple(trial for trial in read_trials(args.run) if trial.replicate == 0)
    whole = [trial for trial in trials if is_whole(trial, space=space)]
    rows = [row for trial in whole for row in rows_of(trial)]
    missing = missing_rules(trials, space=space)
    for name, why in missing.items():
        print(f"left out: {name}: {why}")
    if not rows:
        raise SystemExit(f"{args.run} has no rule that is measured whole yet; wait for one")
    about = provenance(args.run, space=space, whole=whole, missing=missing)
    atomic_write(args.to.with_suffix(".json"), json.dumps(about, indent=1) + "\n")
    atomic_write(args.to.with_suffix(".csv"), as_csv(rows))
    summary = {key: about[key] for key in ("rules", "networks_held", "trainings", "device_seconds")}
    print(f"{args.to.with_suffix('.csv')}: {len(rows)} rows; {summary}")


def is_whole(trial: TrialRecord, *, space: SearchSpace) -> bool:
    """Whether every rung was measured from every seed."""
    return bool(trial.rungs) and all(len(r.measurements) == space.seeds for r in trial.rungs)


def missing_rules(trials: tuple[TrialRecord, ...], *, space: SearchSpace) -> dict[str, str]:
    """Rules that the table lacks, and why."""
    missing = {}
    for trial in trials:
        if not is_whole(trial, space=space):
            expected = len(trial.rungs) * space.seeds
            measured = sum(len(rung.measurements) for rung in trial.rungs)
            missing[trial.name] = trial.reason or f"{measured} of {expected} trainings measured"
    begun = {trial.name for trial in trials}
    later = {point.name: "not begun" for point in design_points(space) if point.name not in begun}
    return missing | later


def rows_of(trial: TrialRecord) -> Iterator[dict[str, Any]]:
    """A rule's rows: by budget, seed and length."""
    assert trial.shares is not None, "rules have shares"
    shares = dict(
        zip(("share_depth", "share_width", "share_resolution"), trial.shares, strict=True)
    )
    for record in trial.rungs:
        network = {"rule": trial.name, **shares, **network_columns(record)}
        for measurement in sorted(record.measurements, key=lambda m: m.seed):
            for point in measurement.curve:
                part = point.epoch / len(measurement.curve)
                yield network | {
                    "epochs": point.epoch,
                    "seed": measurement.seed,
                    "train_loss": round(point.train_loss, 5),
                    "loss": round(point.loss, 5),
                    "top1": round(point.top1, 6),
                    "seconds": round(measurement.seconds * part, 2),
                    "images": measurement.images,
                }


def network_columns(record: RungRecord) -> dict[str, Any]:
    """What is known of a network before it is trained."""
    rung = record.rung
    assert rung.realised is not None, "members of rules have realised shares"
    assert rung.log_macs_ratio is not None, "and a MACs ratio"
    realised = zip(DIMENSIONS, rung.realised.values, strict=True)
    return {
        "budget": rung.budget,
        "network": rung.arch.key,
        "depth": rung.arch.depth,
        "width": rung.arch.stages[0].width,
        "resolution": rung.arch.resolution,
        "macs": rung.macs,
        "params": rung.params,
        "activations": rung.activations,
        **{f"realised_{name}": round(value, 6) for name, value in realised},
        "growth": round(rung.log_macs_ratio, 6),
    }


def provenance(
    run: Path, *, space: SearchSpace, whole: list[TrialRecord], missing: dict[str, str]
) -> dict[str, Any]:
    """What made the table, and its networks."""
    info = asdict(RunDir.open(run).info())
    records = [record for trial in whole for record in trial.rungs]
    spent = {(r.rung.arch.key, m.seed): m.seconds for r in records for m in r.measurements}
    first = records[0]
    return {
        "what": "top1 and loss of real trainings: rules of a lattice, at budgets, from seeds",
        "made": datetime.now(UTC).date().isoformat(),
        **{key: info[key] for key in ("name", "id", "created", "command", "fingerprint")},
        "versions": info["versions"],
        "hardware": info["hardware"],
        "device": first.measurements[0].device,
        "rules": len(whole),
        "missing": missing,
        "seeds": [m.seed for m in first.measurements],
        "trainings": len(spent),
        "device_seconds": round(sum(spent.values())),
        "train_images": images_per_epoch(space, record=first),
        "validation_images": first.measurements[0].images,
        "lengths": lengths_text(space, last=len(first.measurements[0].curve)),
        "networks_held": len({record.rung.arch.key for record in records}),
        "space": RunDir.open(run).space.read_text(),
        "networks": {record.rung.arch.key: record.rung.arch.to_dict() for record in records},
    }


def lengths_text(space: SearchSpace, *, last: int) -> str:
    """How the shorter lengths came about, in words."""
    recipe, text = space.proxy.recipe, LENGTHS.format(last=last)
    if recipe.schedule != "constant" or not recipe.ema:
        raise SystemExit(
            "the curves of this run say nothing of shorter trainings; set proxy.recipe.schedule: "
            "constant and proxy.recipe.ema in its space file"
        )
    by_part = recipe.warmup_epochs is None and recipe.warmup_fraction > 0
    return text + (SHORT_WARM_UP.format(part=recipe.warmup_fraction) if by_part else "")


def images_per_epoch(space: SearchSpace, *, record: RungRecord) -> int:
    """Images that an epoch passes through the network."""
    fidelity = record.rung.fidelity
    images = len(load_dataset(space.proxy.dataset).subset(fidelity.data_fraction).train)
    length = TrainingLength.of(fidelity, images=images, batch=space.proxy.recipe.batch)
    return length.steps_per_epoch * length.batch


def as_csv(rows: list[dict[str, Any]]) -> str:
    """Rows as text."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


if __name__ == "__main__":
    main()
