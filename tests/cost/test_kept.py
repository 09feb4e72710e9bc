"""A figure is measured once and kept with its machine."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from cmt_search.arch import Arch
from cmt_search.cost.benchmark import Kept, read_kept
from cmt_search.cost.setting import Machine
from cmt_search.errors import RunError
from cmt_search.presets import PRESETS

HERE = Machine(hardware="abacus", torch="2.0", cmt_search="1")
PICO, NANO = PRESETS["cmt_pico"], PRESETS["cmt_nano"]


@dataclass(frozen=True)
class Reading:
    value: float
    machine: Machine = HERE

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Noisy:
    """Never says the same twice."""

    def __init__(self) -> None:
        self.archs: list[Arch] = []

    def __call__(self, arch: Arch) -> Reading:
        self.archs.append(arch)
        return Reading(float(len(self.archs)))


def kept(file: Path, measure: Noisy, *, name: str = "latency_ms") -> Kept:
    return Kept(file=file, name=name, measure=measure, machine=HERE)


def test_a_network_is_measured_once_also_by_another_process(tmp_path: Path) -> None:
    noisy, file = Noisy(), tmp_path / "measured.json"
    first = kept(file, noisy)
    assert (first(PICO), first(NANO), first(PICO)) == (1.0, 2.0, 1.0)
    assert kept(file, noisy)(NANO) == 2.0
    assert noisy.archs == [PICO, NANO]
    assert [path.name for path in tmp_path.iterdir()] == ["measured.json"]


def test_two_figures_share_a_file_and_each_stands_with_its_machine(tmp_path: Path) -> None:
    file = tmp_path / "measured.json"
    kept(file, Noisy())(PICO)
    kept(file, Noisy(), name="memory_mib")(PICO)
    assert read_kept(file) == {
        name: {PICO.key: {"value": 1.0, "machine": asdict(HERE)}}
        for name in ("latency_ms", "memory_mib")
    }


def test_figures_of_another_machine_or_torch_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "measured.json"
    meter = kept(file, Noisy())
    meter.check()
    meter(PICO)
    meter.check()
    replace(meter, machine=replace(HERE, cmt_search="2")).check()
    for change in ({"hardware": "slide rule"}, {"torch": "3.0"}):
        with pytest.raises(RunError) as caught:
            replace(meter, machine=replace(HERE, **change)).check()
        here = replace(HERE, **change)
        assert str(caught.value) == (
            f"{file}: latency_ms was measured on abacus with torch 2.0, and this is "
            f"{here.hardware} with torch {here.torch}: the figures would not compare; go on there, "
            "or start a new run with another --name"
        )


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "measured.json"
    file.write_text("{")
    with pytest.raises(RunError, match=r"measured\.json cannot be read .*; restore it from a copy"):
        kept(file, Noisy())(PICO)


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, and no folder")
    with pytest.raises(RunError, match=r"measured\.json cannot be written \(File exists"):
        kept(tmp_path / "taken" / "measured.json", Noisy())(PICO)
    assert json.dumps(read_kept(tmp_path / "taken" / "measured.json")) == "{}"
