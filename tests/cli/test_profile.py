"""`profile --latency` measures time and memory, and says how and where."""

import json
import re
from typing import Any

import pytest

from cmt_search.cli import invoke
from tests.messages import mentions

MEASURE = ["profile", "cmt_pico", "--latency", "--seconds", "0.05", "--threads", "1"]


def test_the_json_holds_the_figures_and_the_help_names_every_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert invoke([*MEASURE, "--batch", "2", "--json"]) == 0
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    latency, memory = data["latency"], data["memory"]
    assert latency["median_ms"] > 0
    assert latency["iqr_ms"] >= 0
    assert latency["repeats"] >= 1
    assert 0 < memory["weights_mib"] * 2**20 < 4.2 * data["params"]  # batch norms are folded
    for measured in (latency, memory):
        assert measured["machine"].keys() == {"hardware", "torch", "cmt_search"}
        assert measured["config"] == {
            "device": "cpu",
            "threads": 1,
            "batch": 2,
            "dtype": "fp32",
            "compiled": False,
            "folded": True,
            "channels_last": True,
            "threshold": 0.02,
            "seconds": 0.05,
        }
    invoke(["profile", "--help"])
    words = set(re.findall(r"\w+", capsys.readouterr().out))
    assert words >= latency.keys() | memory.keys() | latency["machine"].keys()
    assert words >= {"key", "params", "macs", "activations", "rows", "latency", "memory"}


def test_the_text_says_the_same_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke([*MEASURE, "--batch", "2"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"Forward pass, batch 2: median [\d.]+ ms, IQR [\d.]+ ms over \d+ pass", text)
    assert re.search(r"Memory: weights [\d.]+ MiB; peak of a forward pass [\d.]+ MiB", text)
    assert "fp32, eager, batch norms folded, channels-last, torch 2" in text


def test_what_cannot_be_measured_is_named_beside_what_can(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert invoke(MEASURE) == 0
    text = capsys.readouterr().out
    assert "of a training step unknown." in text
    assert "Unknown: training, since batch norms need two values per channel" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threads", "0"], "threads=0 ... from 1 to 4,096"),
        (["--device", "tpu"], "device='tpu' ... use cpu, cuda or cuda:1"),
        (["--device", "cuda:99"], "device=cuda:99: torch sees"),
        (["--dtype", "fp8"], "dtype='fp8' ... use fp32, bf16 or fp16"),
    ],
)
def test_a_mistake_in_the_setting_is_explained(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke([*MEASURE, *options]) == 2
    assert mentions(capsys.readouterr().err, message)
