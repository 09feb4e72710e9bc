"""Meters for a space that caps latency or memory, or makes one an objective."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cmt_search.space import SearchSpace


def metered(space: "SearchSpace", *, file: Path | None = None) -> "SearchSpace":
    """The space, with what measures its networks here; a space that measures nothing, as it is.

    Figures are kept in `file`, those of a run, or for as long as the process lives.

    Raises:
        RunError: the file holds figures of another machine.
        CmtSearchError: this machine lacks the device.
    """
    if not space.measured:
        return space
    from cmt_search.builder import build
    from cmt_search.cost.benchmark import Kept, LatencyOf, MemoryOf
    from cmt_search.cost.setting import Machine

    setting = space.latency
    found: dict[str, LatencyOf | MemoryOf] = {
        "latency_ms": LatencyOf(build=build, setting=setting),
        "memory_mib": MemoryOf(build=build, setting=setting),
    }
    if file is None:
        return space.with_meters({name: found[name] for name in space.measured})
    machine = Machine.here(setting.device)
    kept = {
        name: Kept(file=file, name=name, measure=found[name].figure, machine=machine)
        for name in space.measured
    }
    for meter in kept.values():
        meter.check()
    return space.with_meters(kept)


def measured_on(space: "SearchSpace") -> dict[str, Any] | None:
    """How and where a space's networks are measured, as plain values; None: they are not."""
    if not space.measured:
        return None
    from dataclasses import asdict

    from cmt_search.cost.setting import Machine

    setting = space.latency
    return {"setting": asdict(setting), "machine": Machine.here(setting.device).to_dict()}


def measuring_text(space: "SearchSpace") -> str:
    """How a space's networks are measured, in a sentence; empty: they are not."""
    if not space.measured:
        return ""
    from cmt_search.cost.setting import hardware_name

    setting = space.latency
    threads = f", threads: {setting.threads or 'all'}" if setting.device == "cpu" else ""
    return (
        f"{' and '.join(space.measured)} of every network are measured before it is trained, on "
        f"{hardware_name(setting.device)} ({setting.device}{threads}, batch {setting.batch}, "
        f"{setting.dtype}); trainings on the same device at that time disturb the figures"
    )
