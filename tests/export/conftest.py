"""Variants to export, with weights and without."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from cmt_search.arch import Arch
from cmt_search.builder import CMT
from cmt_search.export import Source, Variant, Weights
from tests.builder.registered import trained
from tests.builder.tiny import TINY

EDIT = Callable[[dict[str, Any]], object]


def variant(arch: Arch = TINY, *, name: str = "best-1.5G") -> Variant:
    """A variant whose name is no name in Python or timm."""
    provenance = {"run": "demo", "trial": 3, "rule": "dwr", "proxy_top1": [0.5]}
    return Variant(name=name, arch=arch, provenance=provenance)


def weights(arch: Arch = TINY) -> Weights:
    """Weights as a training leaves them."""
    torch.manual_seed(0)
    return Weights(
        state=trained(CMT(arch, pos_std=0.02)).state_dict(),
        origin="Trained for this test.",
        mean=(0.28,) * arch.in_chans,
        std=(0.35,) * arch.in_chans,
        classes=tuple("abcde"),
        training={"top1": 0.5, "images": 10, "epochs": 2, "dataset": "none"},
    )


@pytest.fixture
def fresh() -> Source:
    """Without weights."""
    return Source(variant=variant())


@pytest.fixture
def learned() -> Source:
    """With weights."""
    return Source(variant=variant(), weights=weights())


def with_position(position: str, *, num_classes: int = 5) -> Arch:
    return replace(TINY, position=position, num_classes=num_classes)


def edited(path: Path, change: EDIT) -> Path:
    """The YAML or JSON file after a change."""
    data = yaml.safe_load(path.read_text())
    change(data)
    path.write_text(json.dumps(data, indent=2))  # which is YAML, too
    return path
