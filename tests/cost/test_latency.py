"""Latency is measured as the setting says, with its spread, and leaves nothing changed."""

import itertools
import json
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from cmt_search.arch import Arch
from cmt_search.builder import build
from cmt_search.cost import benchmark as passes
from cmt_search.cost.benchmark import LatencyOf, measure_latency, median_error
from cmt_search.cost.setting import BenchmarkConfig, hardware_name
from cmt_search.errors import CmtSearchError
from cmt_search.presets import PRESETS
from tests.cost.stopwatch import Slow

SHAPE = (3, 4, 4)
QUICK = BenchmarkConfig(seconds=0.02)


class Fails(nn.Module):
    """A network whose pass raises what it is told to."""

    def __init__(self, error: Callable[[], Exception]) -> None:
        super().__init__()
        self.error = error

    def forward(self, images: Tensor) -> Tensor:
        raise self.error()


def test_the_warm_up_is_not_counted_and_equal_passes_settle_at_once() -> None:
    module = Slow(itertools.chain([50.0, 40, 30], itertools.repeat(2.0)))
    setting = BenchmarkConfig(seconds=100)
    found = measure_latency(module, shape=SHAPE, setting=setting, clock=module.clock)
    assert (found.median_ms, found.low_ms, found.high_ms) == (2000, 2000, 2000)
    assert (found.repeats, found.settled, found.error) == (10, True, 0)
    assert len(module.batches) == 3 + 10


def test_a_short_pass_warms_up_for_a_twentieth_of_the_limit() -> None:
    module = Slow(itertools.repeat(0.5))
    measure_latency(module, shape=SHAPE, setting=BenchmarkConfig(seconds=100), clock=module.clock)
    assert len(module.batches) == 10 + 10


def test_uneven_passes_are_repeated_until_time_is_up() -> None:
    module = Slow(itertools.cycle([1.0, 3.0]))
    found = measure_latency(
        module, shape=SHAPE, setting=BenchmarkConfig(seconds=80), clock=module.clock
    )
    assert (found.repeats, found.settled) == (40, False)
    assert found.error == 0.5
    assert (found.low_ms, found.median_ms, found.high_ms) == (1000, 2000, 3000)


def test_uneven_passes_settle_when_their_median_is_known() -> None:
    module = Slow(itertools.cycle([1.0, 1.1, 1.2, 1.3]))
    setting = BenchmarkConfig(seconds=1e6, error=0.05)
    found = measure_latency(module, shape=SHAPE, setting=setting, clock=module.clock)
    assert found.settled
    assert found.error <= 0.05
    assert 10 < found.repeats < 1000


def test_a_pass_longer_than_the_limit_is_timed_three_times() -> None:
    module = Slow(itertools.repeat(1000.0))
    found = measure_latency(
        module, shape=SHAPE, setting=BenchmarkConfig(seconds=1), clock=module.clock
    )
    assert (found.repeats, found.settled, found.median_ms) == (3, False, 1e6)


@pytest.mark.parametrize("count", [6, 7, 10, 33, 100, 401])
def test_the_error_is_half_of_an_interval_that_holds_the_median_in_95_of_100_cases(
    count: int,
) -> None:
    ordered = [float(value) for value in range(1, count + 1)]
    middle = (count + 1) / 2
    low = round(middle - median_error(ordered) * middle)  # the rank of the lower end
    beyond = 2 * sum(math.comb(count, k) for k in range(low)) / 2**count
    assert 0 < beyond < 0.05


def test_a_figure_says_how_and_where_it_was_measured() -> None:
    arch = replace(PRESETS["cmt_pico"], in_chans=1)
    setting = replace(QUICK, batch=2, dtype="bf16" if passes._computes_in("bf16") else "fp32")
    found = measure_latency(build(arch), shape=(1, 14, 14), setting=setting)
    assert 0 < found.low_ms <= found.median_ms <= found.high_ms
    assert found.error >= 0
    assert found.setting == replace(setting, threads=torch.get_num_threads())
    assert found.machine.torch == torch.__version__.partition("+")[0]
    data = json.loads(json.dumps(found.to_dict()))
    assert data["repeats"] == found.repeats >= 3
    assert data["setting"]["batch"] == 2
    assert all(data["machine"][name] for name in ("hardware", "torch", "cmt_search"))


def test_images_come_in_batches_and_are_the_same_every_time() -> None:
    seen: list[Tensor] = []

    class Looks(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(images.clone())
            return images

    for _ in range(2):
        measure_latency(Looks(), shape=SHAPE, setting=replace(QUICK, batch=5))
    assert seen[0].shape == (5, 3, 4, 4)
    assert all(images.equal(seen[0]) for images in seen)


def test_threads_and_random_numbers_are_left_as_they_were() -> None:
    before, state = torch.get_num_threads(), torch.get_rng_state()
    module = Slow(itertools.repeat(1.0))
    setting = BenchmarkConfig(threads=before + 1)
    found = measure_latency(module, shape=SHAPE, setting=setting, clock=module.clock)
    assert set(module.threads) == {before + 1}
    assert found.setting.threads == before + 1
    with pytest.raises(ZeroDivisionError):
        measure_latency(Fails(ZeroDivisionError), shape=SHAPE, setting=setting)
    assert torch.get_num_threads() == before
    assert torch.get_rng_state().equal(state)


def test_the_module_stays_as_it_is() -> None:
    module = build(PRESETS["cmt_pico"]).train()
    weights = {name: value.clone() for name, value in module.state_dict().items()}
    measure_latency(module, shape=(3, 14, 14), setting=replace(QUICK, batch=2))
    assert module.training
    assert all(value.equal(weights[name]) for name, value in module.state_dict().items())


def test_a_network_is_measured_once_however_it_is_written() -> None:
    built: list[Arch] = []

    def make(arch: Arch) -> nn.Module:
        built.append(arch)
        return nn.Dropout()

    pico = PRESETS["cmt_pico"]
    stages = tuple(replace(s, mlp_ratio=s.mlp_ratio + 0.001) for s in pico.stages)
    same, other = replace(pico, stages=stages), replace(pico, resolution=16)
    latency = LatencyOf(build=make, setting=QUICK)
    state = torch.get_rng_state()
    times = [latency(arch) for arch in (pico, same, other, pico)]
    assert built == [pico, other]
    assert times[0] == times[1] == times[3] == latency.figure(pico).median_ms
    assert torch.get_rng_state().equal(state)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"device": "gpu"}, "device='gpu' is unknown; use cpu, cuda or cuda:1"),
        ({"threads": 0}, "threads=0 cannot compute; use 1 or more"),
        ({"batch": 0}, "batch=0 holds no image; use 1 or more"),
        ({"dtype": "int8"}, "dtype='int8' is unknown; use fp32, bf16, fp16"),
        ({"seconds": 0}, "seconds=0: both are above 0; use 0.01 and 10"),
        ({"error": float("nan")}, "error=nan, seconds=2.0: both are above 0"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(CmtSearchError, match=message):
        BenchmarkConfig(**values)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(CmtSearchError, match="device=cuda:1: torch sees 1 GPUs here; use cpu, or"):
        measure_latency(nn.Identity(), shape=SHAPE, setting=BenchmarkConfig(device="cuda:1"))


def test_a_dtype_that_the_processor_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "_computes_in", lambda dtype: dtype == "fp32")
    with pytest.raises(CmtSearchError, match="dtype=fp16: this processor does not compute in it"):
        measure_latency(nn.Identity(), shape=SHAPE, setting=BenchmarkConfig(dtype="fp16"))
    measure_latency(nn.Identity(), shape=SHAPE, setting=QUICK)


def test_a_batch_that_does_not_fit_is_explained() -> None:
    module = Fails(lambda: torch.OutOfMemoryError("tried to allocate"))
    with pytest.raises(
        CmtSearchError, match=r"batch=1 does not fit .* of cpu; use a smaller batch"
    ):
        measure_latency(module, shape=SHAPE, setting=QUICK)


def test_a_compiler_that_is_not_there_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.exc import TorchDynamoException

    def fails() -> Exception:
        return TorchDynamoException("No working C++ compiler found\n\nand a long trace")

    monkeypatch.setattr(torch, "compile", lambda module: Fails(fails))
    message = r"torch.compile failed \(No working C\+\+ compiler found\); install a C\+\+ compiler"
    with pytest.raises(CmtSearchError, match=message):
        measure_latency(nn.Identity(), shape=SHAPE, setting=replace(QUICK, compiled=True))


@pytest.mark.parametrize("compiled", [True, False])
def test_another_failure_of_a_network_is_raised_as_it_is(
    compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", lambda module: module)
    module = Fails(lambda: RuntimeError("shapes disagree"))
    with pytest.raises(RuntimeError, match="shapes disagree"):
        measure_latency(module, shape=SHAPE, setting=replace(QUICK, compiled=compiled))


def test_a_machine_is_named_where_its_processor_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pathlib.Path.read_text", lambda self, errors: "processor : 0\n")
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert hardware_name("cpu") == "riscv64"
