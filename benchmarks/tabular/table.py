"""Tabular benchmark: recorded trainings, and an evaluator that returns them."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from cmt_search.arch import Arch
from cmt_search.errors import DataError
from cmt_search.evaluation import (
    SEEDS_PER_REPLICATE,
    CurvePoint,
    Fidelity,
    Measurement,
    TrainingFailed,
)

COLUMNS = ("network", "epochs", "seed", "train_loss", "loss", "top1", "seconds", "images")
"""Required columns of the CSV file, one row per training and length."""

TrainingKey = tuple[str, int, int]
"""Key of a network, epochs, seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TabularBenchmark:
    """Measurements by network, epochs and seed; `correct` is empty, since it is not recorded."""

    measurements: Mapping[TrainingKey, Measurement]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a CSV file with `COLUMNS`.

        Raises:
            DataError: the file is missing, lacks a column, or a field is not a number.
        """
        points: dict[TrainingKey, tuple[CurvePoint, float, int]] = {}
        for line, row in enumerate(_read_rows(path), start=2):
            try:
                key = (row["network"], int(row["epochs"]), int(row["seed"]))
                points[key] = (_curve_point(row), float(row["seconds"]), int(row["images"]))
            except (TypeError, ValueError) as error:
                raise DataError(
                    f"{path}:{line} cannot be read ({error}); export it again"
                ) from error
        if not points:
            raise DataError(f"{path} contains no training; export a run that has measured some")
        return cls(measurements={key: _measurement(key, points) for key in points})

    @property
    def networks(self) -> tuple[str, ...]:
        """Keys of the networks, in the order of the file."""
        return tuple(dict.fromkeys(network for network, _, _ in self.measurements))

    @property
    def lengths(self) -> tuple[int, ...]:
        """Epochs, in increasing order."""
        return tuple(sorted({epochs for _, epochs, _ in self.measurements}))

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds, in increasing order."""
        return tuple(sorted({seed for _, _, seed in self.measurements}))

    def measurement(self, network: str, *, epochs: int, seed: int) -> Measurement:
        """Return one training.

        Raises:
            DataError: it is not in the table; the message says what is.
        """
        try:
            return self.measurements[network, epochs, seed]
        except KeyError:
            raise DataError(self._describe_missing(network, epochs=epochs, seed=seed)) from None

    def _describe_missing(self, network: str, *, epochs: int, seed: int) -> str:
        lengths = {length for key, length, _ in self.measurements if key == network}
        if not lengths:
            return (
                f"network {network} is not among the table's {len(self.networks)} "
                f"({_join(self.networks)}); search a space of the table's networks only"
            )
        if epochs not in lengths:
            return (
                f"network {network} was not trained for {epochs} epochs, only for "
                f"{_join(sorted(lengths))}; set the space's epochs to these"
            )
        seeds = {s for key, length, s in self.measurements if (key, length) == (network, epochs)}
        return (
            f"network {network} was not trained from seed {seed}, only from "
            f"{_join(sorted(seeds))}; replay these"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TabularEvaluator:
    """Returns recorded trainings instead of training.

    A search numbers the trainings of a rung replicate by replicate, `seeds_per_rung` each, starting
    at `first_seed`. The n-th of them returns the n-th of `seeds`, so that one table serves searches
    of any seed, and some of its seeds can be held out for scoring.
    """

    table: TabularBenchmark
    seeds: tuple[int, ...]  # of the table
    first_seed: int = 0  # `seed` of the search
    seeds_per_rung: int = 1  # `seeds` of the search

    @classmethod
    def read(cls, path: Path, *, seeds: tuple[int, ...] = (), **options: int) -> Self:
        """Read a table to replay `seeds` of it, by default all.

        Raises:
            DataError: the file cannot be read, or lacks a seed.
        """
        table = TabularBenchmark.read(path)
        if absent := sorted(set(seeds) - set(table.seeds)):
            raise DataError(
                f"{path} has no seed {_join(absent)}; replay some of {_join(table.seeds)}"
            )
        return cls(table=table, seeds=seeds or table.seeds, **options)

    def __call__(
        self,
        arch: Arch,
        *,
        fidelity: Fidelity,
        seed: int,
        folder: Path | None = None,
    ) -> Measurement:
        """Return the recorded measurement for the search's `seed`.

        Raises:
            DataError: the table lacks the network, or its training of this length.
            TrainingFailed: the search asks for more seeds than are replayed.
        """
        del folder  # nothing is trained
        replicate, index = divmod(seed - self.first_seed, SEEDS_PER_REPLICATE)
        if replicate < 0 or index >= self.seeds_per_rung:
            raise DataError(
                f"seed {seed} does not belong to a search with seed {self.first_seed} and "
                f"{self.seeds_per_rung} seeds; set first_seed and seeds_per_rung to the search's"
            )
        number = replicate * self.seeds_per_rung + index
        if number >= len(self.seeds):
            raise TrainingFailed(
                f"training {number + 1} of network {arch.key}: only {len(self.seeds)} seeds of the "
                f"table are replayed ({_join(self.seeds)}); use fewer replicates or replay more"
            )
        epochs = fidelity.epochs
        recorded = self.table.measurement(arch.key, epochs=epochs, seed=self.seeds[number])
        return replace(recorded, seed=seed)


def _read_rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows, names = list(reader), reader.fieldnames or ()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}); give a table's CSV file") from error
    if missing := [name for name in COLUMNS if name not in names]:
        raise DataError(f"{path} lacks columns {', '.join(missing)}; required: {COLUMNS}")
    return rows


def _curve_point(row: Mapping[str, str]) -> CurvePoint:
    return CurvePoint(
        epoch=int(row["epochs"]),
        train_loss=float(row["train_loss"]),
        loss=float(row["loss"]),
        top1=float(row["top1"]),
    )


def _measurement(
    key: TrainingKey, points: Mapping[TrainingKey, tuple[CurvePoint, float, int]]
) -> Measurement:
    """A training, with the shorter ones of its network and seed as its learning curve."""
    network, epochs, seed = key
    point, seconds, images = points[key]
    shorter = [points.get((network, epoch, seed)) for epoch in range(1, epochs)]
    return Measurement(
        top1=point.top1,
        loss=point.loss,
        curve=(*(recorded[0] for recorded in shorter if recorded), point),
        correct=b"",
        images=images,
        seconds=seconds,
        seed=seed,
        device="table",
    )


def _join(values: Iterable[object], *, limit: int = 6) -> str:
    texts = [str(value) for value in values]
    return ", ".join(texts[:limit]) + (", ..." if len(texts) > limit else "")
