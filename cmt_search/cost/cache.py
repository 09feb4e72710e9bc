"""Cache of measured costs, in memory and on disk; free of torch."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cmt_search.arch import Arch
from cmt_search.cost.config import BenchmarkConfig, Machine
from cmt_search.errors import RunError
from cmt_search.io import atomic_write

Records = dict[str, dict[str, dict[str, Any]]]  # measurements as plain values, by name and network


@dataclass(frozen=True, slots=True, kw_only=True)
class CostMeasurement:
    """A measurement, with its config and machine."""

    config: BenchmarkConfig  # with the number of threads that were used
    machine: Machine

    @property
    def value(self) -> float:
        """The number that caps and objectives refer to."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


class MeasurementCache:
    """Measures the costs of each network once, and keeps them on disk if `file` is given.

    A second measurement would give another number, and a resumed run other candidates. The file
    belongs to one run, whose fingerprint fixes the config.
    """

    def __init__(
        self,
        measures: Mapping[str, Callable[[Arch], CostMeasurement]],
        *,
        machine: Machine,
        file: Path | None = None,
    ) -> None:
        """Open the cache; `measures` are functions by name, such as latency_ms.

        Raises:
            RunError: the file cannot be read, or its measurements are another machine's.
        """
        self._measures, self._file = measures, file
        self._records: Records = read_measurements(file) if file else {}
        self._check_machine(machine)

    def meter(self, name: str) -> Callable[[Arch], float]:
        """Return the function from a network to its cost `name`, measured if it is not cached.

        It raises RunError when the file cannot be written.
        """
        records = self._records.setdefault(name, {})

        def measure(arch: Arch) -> float:
            if arch.key not in records:
                measurement = self._measures[name](arch)
                records[arch.key] = {"value": measurement.value, **measurement.to_dict()}
                self._write()
            return float(records[arch.key]["value"])

        return measure

    def _write(self) -> None:
        if self._file is None:
            return
        try:
            atomic_write(self._file, json.dumps(self._records, indent=1) + "\n")
        except OSError as error:
            raise RunError(
                f"{self._file} cannot be written ({error.strerror}); check its folder"
            ) from error

    def _check_machine(self, machine: Machine) -> None:
        for name, records in self._records.items():
            for record in records.values():
                hardware, torch = record["machine"]["hardware"], record["machine"]["torch"]
                if (hardware, torch) != (machine.hardware, machine.torch):
                    raise RunError(
                        f"{self._file}: {name} was measured on {hardware} with torch "
                        f"{torch}, and this is {machine.hardware} with torch "
                        f"{machine.torch}: the measurements would not compare; continue there, or "
                        "start a new run with another --name"
                    )


def read_measurements(file: Path) -> Records:
    """Read the measurements in a file; empty if it does not exist.

    Raises:
        RunError: it cannot be read.
    """
    if not file.exists():
        return {}
    try:
        records: Records = json.loads(file.read_text())
        for by_network in records.values():
            for record in by_network.values():
                Machine(**record["machine"]), float(record["value"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(
            f"{file} cannot be read ({error}); restore it from a copy, or start a new run"
        ) from error
    return records
