"""A table of real trainings, and an evaluator that answers from it: searches without training."""

import csv
from collections.abc import Mapping
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
"""What a table must have, a row per training and length; it may have others beside them."""

_SHOWN = 6  # of what a table holds, in messages

Trained = tuple[str, int, int]
"""Key of a network, epochs, seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Measurements by network, training length and seed.

    Images are counted, but which of them were classified correctly is not held: `correct` is empty.
    """

    measured: Mapping[Trained, Measurement]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a CSV file with `COLUMNS`; rows that repeat a training are one.

        Raises:
            DataError: the file is missing, lacks a column, or holds no number where one belongs.
        """
        points: dict[Trained, tuple[CurvePoint, float, int]] = {}
        for line, row in enumerate(_rows(path), start=2):
            try:
                place = (row["network"], int(row["epochs"]), int(row["seed"]))
                points[place] = (_point(row), float(row["seconds"]), int(row["images"]))
            except (TypeError, ValueError) as error:
                raise DataError(f"{path}:{line} cannot be read ({error}); make it anew") from error
        if not points:
            raise DataError(f"{path} holds no training; make it from a run that has measured some")
        return cls(measured={place: _measurement(place, points) for place in points})

    @property
    def networks(self) -> tuple[str, ...]:
        """Keys of the networks held."""
        return tuple(dict.fromkeys(key for key, _, _ in self.measured))

    @property
    def lengths(self) -> tuple[int, ...]:
        """Training lengths held of some network, growing."""
        return tuple(sorted({epochs for _, epochs, _ in self.measured}))

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds held of some network, growing."""
        return tuple(sorted({seed for _, _, seed in self.measured}))

    def measurement(self, network: str, *, epochs: int, seed: int) -> Measurement:
        """What one training gave.

        Raises:
            DataError: the table does not hold it; the message says what it holds.
        """
        found = self.measured.get((network, epochs, seed))
        if found is None:
            raise DataError(self._missing(network, epochs=epochs, seed=seed))
        return found

    def _missing(self, network: str, *, epochs: int, seed: int) -> str:
        own = [place for place in self.measured if place[0] == network]
        if not own:
            return (
                f"network {network} is none of the table's {len(self.networks)} "
                f"({_some(self.networks)}); search a space that holds only the table's networks"
            )
        lengths = sorted({length for _, length, _ in own})
        if epochs not in lengths:
            return (
                f"the table has no training of {epochs} epochs of network {network}, but of "
                f"{_some(lengths)}; set proxy.epochs or ladder.epochs to these"
            )
        seeds = sorted({one for _, length, one in own if length == epochs})
        return (
            f"the table has no training of network {network} from seed {seed}, but from "
            f"{_some(seeds)}; replay these"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TableEvaluator:
    """Answers with what a table holds of a network.

    A search numbers its trainings of a rung: replicate by replicate, `each` of them in one, the
    first from seed `first`. The n-th is answered with the n-th of `seeds`, so that the same table
    serves searches of any seed, and some of its seeds can be kept from them.
    """

    table: Table
    seeds: tuple[int, ...]  # of the table
    first: int = 0  # seed of the search
    each: int = 1  # trainings of a rung: the search's `seeds`

    def __call__(
        self,
        arch: Arch,
        *,
        fidelity: Fidelity,
        seed: int,
        folder: Path | None = None,
        micro_batch: int | None = None,
    ) -> Measurement:
        """The table's measurement under the seed that was asked for; needs no folder.

        Raises:
            DataError: the table lacks the network, or its training of this length.
            TrainingFailed: the search wants more seeds than are replayed, and may go on without.
        """
        del folder, micro_batch  # nothing is trained
        replicate, place = divmod(seed - self.first, SEEDS_PER_REPLICATE)
        number = replicate * self.each + place
        if replicate < 0 or place >= self.each:
            raise DataError(
                f"seed {seed} is none of a search that begins at {self.first} and trains "
                f"{self.each} times a rung; give the table `first` and `each` as the search has "
                "them in seed and seeds"
            )
        if number >= len(self.seeds):
            raise TrainingFailed(
                f"training {number + 1} of network {arch.key} was asked for, and the table replays "
                f"{len(self.seeds)} of its seeds ({_some(self.seeds)}); ask for fewer replicates, "
                "or replay more"
            )
        found = self.table.measurement(arch.key, epochs=fidelity.epochs, seed=self.seeds[number])
        return replace(found, seed=seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFactory:
    """Makes an evaluator from a file; picklable, so that any executor can replay a table."""

    path: Path
    seeds: tuple[int, ...] = ()  # of the table, in the order of measuring; empty: all, growing
    first: int = 0  # see TableEvaluator
    each: int = 1

    def __call__(self) -> TableEvaluator:
        """Read the table.

        Raises:
            DataError: the file cannot be read, or lacks a seed.
        """
        table = Table.read(self.path)
        absent = sorted(set(self.seeds) - set(table.seeds))
        if absent:
            raise DataError(
                f"{self.path} holds nothing from seed {_some(absent)}; replay some of "
                f"{_some(table.seeds)}"
            )
        seeds = self.seeds or table.seeds
        return TableEvaluator(table=table, seeds=seeds, first=self.first, each=self.each)


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows, names = list(reader), reader.fieldnames or ()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}); name a table's CSV file") from error
    lacking = [name for name in COLUMNS if name not in names]
    if lacking:
        raise DataError(f"{path} lacks columns {', '.join(lacking)}; a table has {COLUMNS}")
    return rows


def _point(row: Mapping[str, str]) -> CurvePoint:
    return CurvePoint(
        epoch=int(row["epochs"]),
        train_loss=float(row["train_loss"]),
        loss=float(row["loss"]),
        top1=float(row["top1"]),
    )


def _measurement(
    place: Trained, points: Mapping[Trained, tuple[CurvePoint, float, int]]
) -> Measurement:
    """A training with the shorter ones of its network and seed as its curve."""
    network, epochs, seed = place
    point, seconds, images = points[place]
    before = [points.get((network, epoch, seed)) for epoch in range(1, epochs)]
    return Measurement(
        top1=point.top1,
        loss=point.loss,
        curve=(*(found[0] for found in before if found), point),
        correct=b"",
        images=images,
        seconds=seconds,
        seed=seed,
        device="table",
    )


def _some(values: "tuple[object, ...] | list[int]") -> str:
    """The first of them, in words."""
    shown = ", ".join(str(value) for value in values[:_SHOWN])
    return shown + (", ..." if len(values) > _SHOWN else "")
