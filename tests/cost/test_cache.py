"""A network is measured once; the cache records the machine."""

from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path

import pytest

from cmt_search.arch import Arch
from cmt_search.cost import config as config_module
from cmt_search.cost.cache import CostMeasurement, MeasurementCache, read_measurements
from cmt_search.cost.config import BenchmarkConfig, Machine
from cmt_search.errors import RunError
from cmt_search.presets import PRESETS

MACHINE = Machine(hardware="abacus", torch="2.0", cmt_search="1")
PICO, NANO = PRESETS["cmt_pico"], PRESETS["cmt_nano"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading(CostMeasurement):
    reading: float

    @property
    def value(self) -> float:
        return self.reading


class Noisy:
    """Never measures the same value twice."""

    def __init__(self) -> None:
        self.archs: list[Arch] = []

    def __call__(self, arch: Arch) -> Reading:
        self.archs.append(arch)
        reading = float(len(self.archs))
        return Reading(reading=reading, config=BenchmarkConfig(), machine=MACHINE)


def cached(
    measure: Noisy, file: Path | None = None, machine: Machine = MACHINE
) -> MeasurementCache:
    measures = {"latency_ms": measure, "memory_mib": measure}
    return MeasurementCache(measures, machine=machine, file=file)


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_network_is_measured_once_however_it_is_written(on_disk: bool, tmp_path: Path) -> None:
    noisy = Noisy()
    latency = cached(noisy, tmp_path / "measured.json" if on_disk else None).meter("latency_ms")
    stages = tuple(replace(s, mlp_ratio=s.mlp_ratio + 0.001) for s in PICO.stages)
    same = replace(PICO, stages=stages)
    assert [latency(arch) for arch in (PICO, NANO, same, PICO)] == [1.0, 2.0, 1.0, 1.0]
    assert noisy.archs == [PICO, NANO]


def test_another_process_reuses_the_measurements(tmp_path: Path) -> None:
    noisy, file = Noisy(), tmp_path / "measured.json"
    cached(noisy, file).meter("latency_ms")(PICO)
    assert cached(noisy, file).meter("latency_ms")(PICO) == 1.0
    assert noisy.archs == [PICO]
    assert [path.name for path in tmp_path.iterdir()] == ["measured.json"]


def test_costs_share_a_file_with_config_and_machine(tmp_path: Path) -> None:
    file = tmp_path / "measured.json"
    cache = cached(Noisy(), file)
    values = {name: cache.meter(name)(PICO) for name in ("latency_ms", "memory_mib")}
    facts = {"config": asdict(BenchmarkConfig()), "machine": asdict(MACHINE)}
    assert read_measurements(file) == {
        name: {PICO.key: {"value": value, "reading": value, **facts}}
        for name, value in values.items()
    }


def test_measurements_of_another_machine_or_torch_are_an_error(tmp_path: Path) -> None:
    file = tmp_path / "measured.json"
    cached(Noisy(), file).meter("latency_ms")(PICO)
    cached(Noisy(), file, replace(MACHINE, cmt_search="2"))
    for change in ({"hardware": "slide rule"}, {"torch": "3.0"}):
        with pytest.raises(RunError, match=r"latency_ms was measured on abacus .* another --name"):
            cached(Noisy(), file, replace(MACHINE, **change))


@pytest.mark.parametrize("text", ["{", "[1]", '{"latency_ms": 3}', '{"latency_ms": {"k": {}}}'])
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "measured.json"
    file.write_text(text)
    with pytest.raises(RunError, match=r"measured\.json cannot be read .*; restore it from a copy"):
        cached(Noisy(), file)


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("not a directory")
    cache = cached(Noisy(), tmp_path / "taken" / "measured.json")
    with pytest.raises(RunError, match=r"measured\.json cannot be written \(File exists"):
        cache.meter("latency_ms")(PICO)


def test_a_machine_is_described_from_a_checkout_that_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def version(package: str) -> str:
        if package == "cmt-search":
            raise metadata.PackageNotFoundError(package)
        return "2.11"

    monkeypatch.setattr(config_module, "version", version)
    machine = Machine.current("cpu")
    assert (machine.torch, machine.cmt_search) == ("2.11", "not installed")
