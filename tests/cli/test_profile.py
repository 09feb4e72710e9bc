"""`profile --latency` measures time and memory, and says how and where."""

import json
import re
from typing import Any

import pytest

from cmt_search.cli import invoke

MEASURE = ["profile", "cmt_pico", "--latency", "--seconds", "0.05", "--batch", "2"]


def test_the_json_holds_the_figures_and_the_help_names_every_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert invoke([*MEASURE, "--threads", "1", "--json"]) == 0
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    latency, memory = data["latency"], data["memory"]
    assert 0 < latency["low_ms"] <= latency["median_ms"] <= latency["high_ms"]
    assert latency["repeats"] >= 3
    assert memory["weights_mib"] * 2**20 >= 4 * data["params"]
    for measured in (latency, memory):
        assert measured["machine"].keys() == {"hardware", "torch", "cmt_search"}
        assert measured["setting"] == {
            "device": "cpu",
            "threads": 1,
            "batch": 2,
            "dtype": "fp32",
            "compiled": False,
            "error": 0.01,
            "seconds": 0.05,
        }
    invoke(["profile", "--help"])
    words = set(re.findall(r"\w+", capsys.readouterr().out))
    assert words >= latency.keys() | memory.keys() | latency["machine"].keys()
    assert words >= {"key", "params", "macs", "activations", "rows", "latency", "memory"}


def test_the_text_says_the_same_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(MEASURE) == 0
    text = capsys.readouterr().out
    assert re.search(r"Forward pass of 2: median [\d.]+ ms \(known to [\d.]+%", text)
    assert re.search(r"80% of \d+ passes within [\d.]+ to [\d.]+\.", text)
    assert re.search(r"Memory: weights [\d.]+ MiB; a forward pass adds [\d.]+ MiB", text)
    assert re.search(r"On .+, threads: \d+, fp32, eager, torch 2\S+, cmt_search \d", text)


def test_what_cannot_be_measured_is_named_beside_what_can(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert invoke([*MEASURE, "--batch", "1"]) == 0
    text = capsys.readouterr().out
    assert "a training step unknown." in text
    assert "Unknown: training, since batch norms need two values per channel" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threads", "0"], "threads=0 cannot compute; use 1 or more"),
        (["--device", "tpu"], "device='tpu' is unknown; use cpu, cuda or cuda:1"),
        (["--device", "cuda:99"], "device=cuda:99: torch sees"),
        (["--dtype", "fp8"], "dtype='fp8' is unknown; use fp32, bf16, fp16"),
    ],
)
def test_a_mistake_in_the_setting_is_explained(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke([*MEASURE, *options]) == 2
    assert message in capsys.readouterr().err
