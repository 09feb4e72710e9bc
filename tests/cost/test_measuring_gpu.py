"""Time and memory of a network on a GPU; skipped where there is none."""

import pytest
import torch
from torch import nn

from cmt_search.builder import CMT
from cmt_search.cost.benchmark import measure_latency, measure_memory
from cmt_search.cost.config import BenchmarkConfig
from cmt_search.presets import PRESETS

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
def test_a_gpu_s_time_and_memory_are_measured(dtype: str) -> None:
    module = CMT(PRESETS["cmt_micro"])
    config = BenchmarkConfig(device="cuda", batch=64, dtype=dtype, seconds=0.5)
    state = torch.cuda.get_rng_state()
    latency = measure_latency(module, shape=(3, 32, 32), config=config)
    memory = measure_memory(module, shape=(3, 32, 32), config=config)
    assert 0 <= latency.iqr_ms < latency.median_ms
    assert latency.machine.hardware == torch.cuda.get_device_name()
    assert memory.inference_mib is not None
    assert memory.training_mib is not None
    assert 0 < memory.inference_mib < memory.training_mib
    assert memory.notes == ()
    assert next(module.parameters()).device.type == "cpu"
    assert torch.cuda.get_rng_state().equal(state)


def test_the_allocator_s_peak_is_exact() -> None:
    class Holds(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            torch.ones(2**20, device=images.device)
            return images

    config = BenchmarkConfig(device="cuda", batch=1, seconds=0.1)
    found = measure_memory(
        nn.Sequential(nn.Flatten(), Holds(), nn.Linear(4, 2)), shape=(1, 2, 2), config=config
    )
    assert found.inference_mib == pytest.approx(4, abs=0.01)
