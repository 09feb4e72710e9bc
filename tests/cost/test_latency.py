"""Latency is measured as the setting says, with its spread, and leaves nothing changed."""

import itertools
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from cmt_search.builder import CMT
from cmt_search.cost import benchmark
from cmt_search.cost.benchmark import deployed_copy, measure_latency
from cmt_search.cost.config import BenchmarkConfig, hardware_name, usable_cores
from cmt_search.errors import CmtSearchError
from cmt_search.presets import PRESETS
from tests.cost.stopwatch import Slow

SHAPE = (3, 4, 4)
QUICK = BenchmarkConfig(seconds=0.02)


class Fails(nn.Module):
    """A network whose pass raises a given error."""

    def __init__(self, error: Callable[[], Exception]) -> None:
        super().__init__()
        self.error = error

    def forward(self, images: Tensor) -> Tensor:
        raise self.error()


def test_the_warm_up_is_not_counted() -> None:
    module = Slow(itertools.chain([50.0, 40, 30], itertools.repeat(2.0)))
    config = BenchmarkConfig(seconds=100)
    found = measure_latency(module, shape=SHAPE, config=config, clock=module.clock)
    assert (found.median_ms, found.iqr_ms, found.converged) == (2000, 0, True)


def test_uneven_passes_are_timed_until_the_time_limit() -> None:
    module = Slow(itertools.cycle([1.0, 3.0]))
    config = BenchmarkConfig(seconds=80)
    found = measure_latency(module, shape=SHAPE, config=config, clock=module.clock)
    assert 38 <= found.repeats <= 42
    assert not found.converged
    assert (found.median_ms, found.iqr_ms) == pytest.approx((2000, 2000), abs=1000)


def test_passes_are_timed_until_their_spread_is_below_the_threshold() -> None:
    module = Slow(itertools.cycle([1.0, 1.01, 1.02, 1.03]))
    config = BenchmarkConfig(seconds=1000, threshold=0.05)
    found = measure_latency(module, shape=SHAPE, config=config, clock=module.clock)
    assert found.converged
    assert found.iqr_ms / found.median_ms < 0.05
    assert 90 < found.repeats < 110  # a tenth of the time limit, at least


def test_a_pass_longer_than_the_limit_is_timed_once() -> None:
    module = Slow(itertools.repeat(1000.0))
    config = BenchmarkConfig(seconds=1)
    found = measure_latency(module, shape=SHAPE, config=config, clock=module.clock)
    assert (found.repeats, found.converged, found.median_ms) == (1, False, 1e6)


@pytest.mark.parametrize("folded", [True, False])
@pytest.mark.parametrize("channels_last", [True, False])
def test_the_deployed_network_is_measured(folded: bool, channels_last: bool) -> None:
    module = CMT(PRESETS["cmt_pico"]).eval()
    config = replace(QUICK, folded=folded, channels_last=channels_last)
    network = deployed_copy(module, config=config)
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    before = sum(isinstance(m, nn.BatchNorm2d) for m in module.modules())
    assert norms < before if folded else norms == before
    kernels = [p for p in network.parameters() if p.ndim == 4 and min(p.shape) > 1]
    assert all(k.is_contiguous(memory_format=torch.channels_last) for k in kernels) == channels_last
    images = torch.rand(2, 3, 14, 14)
    torch.testing.assert_close(network(images), module(images), rtol=1e-4, atol=1e-5)
    found = measure_latency(module, shape=(3, 14, 14), config=config)
    assert (found.config.folded, found.config.channels_last) == (folded, channels_last)


def test_a_measurement_records_config_and_machine() -> None:
    arch = replace(PRESETS["cmt_pico"], in_chans=1)
    config = replace(QUICK, batch=2, dtype="bf16" if benchmark._is_native_dtype("bf16") else "fp32")
    found = measure_latency(CMT(arch), shape=(1, 14, 14), config=config)
    assert found.median_ms > 0
    assert found.iqr_ms >= 0
    assert found.config == replace(config, threads=torch.get_num_threads())
    assert found.machine.torch == torch.__version__.partition("+")[0]
    data = json.loads(json.dumps(found.to_dict()))
    assert data["repeats"] == found.repeats >= 1
    assert data["config"]["batch"] == 2
    assert all(data["machine"][name] for name in ("hardware", "torch", "cmt_search"))


def test_images_come_in_batches_and_are_the_same_every_time() -> None:
    seen: list[Tensor] = []

    class Looks(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(images.clone())
            return images

    for _ in range(2):
        measure_latency(Looks(), shape=SHAPE, config=replace(QUICK, batch=5))
    assert seen[0].shape == (5, 3, 4, 4)
    assert all(images.equal(seen[0]) for images in seen)


def test_no_number_of_threads_means_all_cores_whatever_the_process_was_set_to() -> None:
    before, config = torch.get_num_threads(), replace(QUICK, threads=None)
    for process_threads in (1, usable_cores() + 1):
        torch.set_num_threads(process_threads)
        try:
            latency = measure_latency(nn.Identity(), shape=SHAPE, config=config)
        finally:
            torch.set_num_threads(before)
        assert latency.config.threads == usable_cores()


def test_threads_and_random_numbers_are_left_as_they_were() -> None:
    before, state = torch.get_num_threads(), torch.get_rng_state()
    module = Slow(itertools.repeat(1.0))
    config = BenchmarkConfig(threads=before + 1)
    found = measure_latency(module, shape=SHAPE, config=config, clock=module.clock)
    assert set(module.threads) == {before + 1}
    assert found.config.threads == before + 1
    with pytest.raises(ZeroDivisionError):
        measure_latency(Fails(ZeroDivisionError), shape=SHAPE, config=config)
    assert torch.get_num_threads() == before
    assert torch.get_rng_state().equal(state)


def test_the_module_stays_as_it_is() -> None:
    module = CMT(PRESETS["cmt_pico"]).train()
    weights = {name: value.clone() for name, value in module.state_dict().items()}
    measure_latency(module, shape=(3, 14, 14), config=replace(QUICK, batch=2))
    assert module.training
    assert all(value.equal(weights[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"device": "gpu"}, "^device='gpu'.*; use cpu"),
        ({"threads": 0}, r"threads=0 .*; use .* from 1"),
        ({"batch": 0}, r"batch=0 .*; use .* from 1"),
        ({"dtype": "int8"}, r"dtype='int8' .*; use fp32, bf16"),
        ({"seconds": 0}, r"seconds=0 .*; use .* above 0"),
        ({"threshold": float("nan")}, r"threshold=nan .*; use .* above 0"),
    ],
)
def test_an_impossible_config_is_an_error(values: dict[str, object], message: str) -> None:
    with pytest.raises(CmtSearchError, match=message):
        BenchmarkConfig(**values)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(CmtSearchError, match="device=cuda:1: torch sees 1 GPUs here; use cpu, or"):
        measure_latency(nn.Identity(), shape=SHAPE, config=BenchmarkConfig(device="cuda:1"))


def test_a_dtype_that_the_processor_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "_is_native_dtype", lambda dtype: dtype == "fp32")
    with pytest.raises(CmtSearchError, match="dtype=fp16: this processor does not compute in it"):
        measure_latency(nn.Identity(), shape=SHAPE, config=BenchmarkConfig(dtype="fp16"))
    measure_latency(nn.Identity(), shape=SHAPE, config=QUICK)


def test_a_batch_that_does_not_fit_is_explained() -> None:
    module = Fails(lambda: torch.OutOfMemoryError("tried to allocate"))
    with pytest.raises(
        CmtSearchError, match=r"batch=1 does not fit .* of cpu; use a smaller batch"
    ):
        measure_latency(module, shape=SHAPE, config=QUICK)


def test_a_compiler_that_is_not_there_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.exc import TorchDynamoException

    def fails() -> Exception:
        return TorchDynamoException("No working C++ compiler found\n\nand a long trace")

    monkeypatch.setattr(torch, "compile", lambda module: Fails(fails))
    message = r"torch.compile failed \(No working C\+\+ compiler found\); install a C\+\+ compiler"
    with pytest.raises(CmtSearchError, match=message):
        measure_latency(nn.Identity(), shape=SHAPE, config=replace(QUICK, compiled=True))


@pytest.mark.parametrize("compiled", [True, False])
def test_another_failure_of_a_network_is_raised_as_it_is(
    compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", lambda module: module)
    module = Fails(lambda: RuntimeError("shapes disagree"))
    with pytest.raises(RuntimeError, match="shapes disagree"):
        measure_latency(module, shape=SHAPE, config=replace(QUICK, compiled=compiled))


def test_a_machine_is_named_where_its_processor_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pathlib.Path.read_text", lambda self, errors: "processor : 0\n")
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert hardware_name("cpu") == "riscv64"
