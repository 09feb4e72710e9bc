"""Measured costs of a space that caps latency or memory, or has one as an objective."""

from pathlib import Path
from typing import TYPE_CHECKING

from cmt_search.errors import RunError

if TYPE_CHECKING:
    from cmt_search.space import SearchSpace


def with_cost_measurement(space: "SearchSpace", *, file: Path | None = None) -> "SearchSpace":
    """Give the space functions that measure its networks here; unchanged if it needs none.

    Measurements are cached in `file`, that of a run, or in memory.

    Raises:
        RunError: the file holds measurements of another machine.
        CmtSearchError: this machine lacks the device.
    """
    if not space.measured:
        return space
    import torch

    from cmt_search.builder import CMT
    from cmt_search.cost.benchmark import arch_measures
    from cmt_search.cost.cache import MeasurementCache
    from cmt_search.cost.config import Machine

    if space.latency.device != "cpu" and not torch.cuda.is_available():
        raise RunError(
            f"latency.device: {space.latency.device}, but this process sees no GPU; set it to cpu, "
            "or run on a machine with the GPU that is meant"
        )
    cache = MeasurementCache(
        arch_measures(CMT, config=space.latency),
        machine=Machine.current(space.latency.device),
        file=file,
    )
    return space.with_meters({name: cache.meter(name) for name in space.measured})


def measurement_text(space: "SearchSpace") -> str:
    """Describe how a space's networks are measured; empty if they are not."""
    if not space.measured:
        return ""
    from cmt_search.cost.config import hardware_name

    config = space.latency
    threads = f", threads: {config.threads or 'all'}" if config.device == "cpu" else ""
    return (
        f"{' and '.join(space.measured)} of every network are measured before it is trained, on "
        f"{hardware_name(config.device)} ({config.device}{threads}, batch {config.batch}, "
        f"{config.dtype}); trainings on the same device at that time disturb the measurement"
    )
