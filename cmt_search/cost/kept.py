"""Measured figures, kept in a file: a network is measured once, also by a run that is resumed."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cmt_search.arch import Arch
from cmt_search.atomic import write_whole
from cmt_search.cost.setting import Machine
from cmt_search.errors import RunError


class Figure(Protocol):
    """What was measured of one network, with the setting and the machine."""

    @property
    def value(self) -> float:
        """The one number that caps and objectives look at."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Arch -> a figure, from the file where it is held, else measured and put there.

    A second measurement would give another number, and a resumed run other candidates. The file is
    that of one run, whose fingerprint fixes the setting; several figures may share it.
    """

    file: Path
    name: str  # of the figure, such as latency_ms
    measure: Callable[[Arch], Figure]
    machine: Machine  # this one

    def __call__(self, arch: Arch) -> float:
        """The figure in its unit.

        Raises:
            RunError: the file cannot be read or written.
        """
        held = read_kept(self.file)
        figures = held.setdefault(self.name, {})
        if arch.key not in figures:
            figure = self.measure(arch)
            figures[arch.key] = {"value": figure.value, **figure.to_dict()}
            _write(self.file, json.dumps(held, indent=1) + "\n")
        return float(figures[arch.key]["value"])

    def check(self) -> None:
        """Refuse to go on with figures of another machine: they would not compare with new ones.

        Raises:
            RunError: hardware or torch differ.
        """
        here = self.machine
        for figure in read_kept(self.file).get(self.name, {}).values():
            there = figure["machine"]
            if (there["hardware"], there["torch"]) != (here.hardware, here.torch):
                raise RunError(
                    f"{self.file}: {self.name} was measured on {there['hardware']} with torch "
                    f"{there['torch']}, and this is {here.hardware} with torch {here.torch}: the "
                    "figures would not compare; go on there, or start a new run with another --name"
                )


def read_kept(file: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """The figures in a file, by name and by key of the network; none where there is no file.

    Raises:
        RunError: it cannot be read.
    """
    if not file.exists():
        return {}
    try:
        found: dict[str, dict[str, dict[str, Any]]] = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise RunError(
            f"{file} cannot be read ({error}); restore it from a copy, or start a new run"
        ) from error
    return found


def _write(file: Path, text: str) -> None:
    try:
        write_whole(file, text)
    except OSError as error:
        raise RunError(f"{file} cannot be written ({error.strerror}); free its folder") from error
