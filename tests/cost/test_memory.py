"""Memory is what the weights hold and what a pass adds to that at most."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cmt_search.builder import CMT
from cmt_search.cost import benchmark, cost
from cmt_search.cost.benchmark import measure_memory, peak_mib
from cmt_search.cost.config import BenchmarkConfig
from cmt_search.presets import PRESETS

MIB = 2**20
has_peaks = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="needs Linux's resettable peak"
)


class Holds(nn.Module):
    """A pass that holds some MiB for a moment; its weights hold 16 MiB."""

    def __init__(self, mib: int) -> None:
        super().__init__()
        self.mib = mib
        self.linear = nn.Linear(4095, 1024)
        self.register_buffer("steps", torch.zeros(MIB, dtype=torch.int64))

    def forward(self, images: Tensor) -> Tensor:
        torch.ones(self.mib * MIB // 4)
        return self.linear(images.flatten(1))


@has_peaks
def test_a_pass_adds_what_it_holds_at_its_worst_moment_and_a_step_what_learning_needs() -> None:
    found = measure_memory(Holds(96), shape=(3, 35, 39), config=BenchmarkConfig(batch=2))
    assert found.weights_mib == 4096 * 1024 * 4 / MIB + 8
    assert found.inference_mib == pytest.approx(96, abs=2)
    # Gradients and two moments: 48 MiB, at most 96 of the pass at another moment.
    small = measure_memory(Holds(1), shape=(3, 35, 39), config=BenchmarkConfig(batch=2))
    assert small.inference_mib == pytest.approx(1, abs=3)  # what else the process takes meanwhile
    assert small.training_mib == pytest.approx(48, abs=6)
    assert found.notes == small.notes == ()


@has_peaks
def test_what_was_freed_before_a_call_is_counted_when_it_is_taken_again() -> None:
    def takes() -> None:
        [torch.ones(MIB // 64) for _ in range(64 * 32)]  # 16 KiB each: from the heap

    takes()
    assert peak_mib(takes, device="cpu") == pytest.approx(128, abs=8)


def test_weights_are_counted_in_the_dtype_that_they_are_cast_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(benchmark, "_is_native_dtype", lambda dtype: True)
    config = BenchmarkConfig(dtype="bf16", batch=2)
    found = measure_memory(Holds(1), shape=(3, 35, 39), config=config)
    assert found.weights_mib == 4096 * 1024 * 2 / MIB + 8  # whole numbers are not cast
    assert found.config == replace(config, threads=torch.get_num_threads())


def test_a_step_that_batch_norms_refuse_is_unknown_and_says_why() -> None:
    pico = PRESETS["cmt_pico"]  # one pixel is left in its last stage
    one, two = (
        measure_memory(CMT(pico), shape=(3, 14, 14), config=BenchmarkConfig(batch=batch))
        for batch in (1, 2)
    )
    assert one.training_mib is None
    assert "batch norms need two values per channel; use a larger batch" in one.notes[0]
    assert 0 < one.weights_mib * MIB < 4.2 * cost(pico).params  # batch norms are folded
    assert not any("batch norms" in note for note in two.notes)


def test_where_no_peak_can_be_reset_memory_is_unknown_and_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(benchmark, "_RESET", tmp_path / "absent" / "clear_refs")
    found = measure_memory(
        CMT(PRESETS["cmt_pico"]), shape=(3, 14, 14), config=BenchmarkConfig(batch=2)
    )
    assert (found.inference_mib, found.training_mib) == (None, None)
    assert "this system cannot reset them; Linux and GPUs can" in found.notes[0]
    data = json.loads(json.dumps(found.to_dict()))
    assert data["inference_mib"] is None
    assert data["notes"] == list(found.notes)
    assert data["machine"]["hardware"]


def test_another_refusal_of_a_network_is_raised_as_it_is() -> None:
    class Refuses(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise ValueError("one channel only")

    with pytest.raises(ValueError, match="one channel only"):
        measure_memory(Refuses(), shape=(3, 4, 4), config=BenchmarkConfig())
