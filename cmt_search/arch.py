"""The one description of a network: plain frozen values, no torch."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from cmt_search.errors import ArchError


def _require_int(where: str, value: object, *, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ArchError(f"{where}={value!r} is not an integer; write a whole number")
    if value < least:
        raise ArchError(f"{where}={value} is too small; use at least {least}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Blocks that share one resolution and one width."""

    depth: int  # blocks
    width: int  # channels
    heads: int  # attention heads; divides width
    kv_stride: int = 1  # stride on keys and values; 1 is plain attention
    mlp_ratio: float = 4.0  # IRFFN hidden channels / width
    qk_ratio: float = 1.0  # channels of queries and keys / width; values keep the width

    @property
    def head_dim(self) -> int:
        """Channels of the values in every head."""
        return self.width // self.heads

    @property
    def qk_width(self) -> int:
        """Channels of queries and of keys: rounded down to whole channels in every head."""
        return int(self.head_dim * self.qk_ratio) * self.heads

    @property
    def hidden(self) -> int:
        """Hidden channels of the IRFFN, rounded down as in the official code."""
        return int(self.width * self.mlp_ratio)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arch:
    """A network, fully decided.

    Raises:
        ArchError: a size is no positive integer, or a width is not divisible by its heads.
    Source: CMT, arXiv:2107.06263, section 3; stem stride, key strides and neck are knobs here.
    """

    resolution: int  # input side, pixels
    stem_width: int  # channels
    stages: tuple[Stage, ...]
    stem_stride: int = 2  # stride of the first convolution
    neck_width: int = 1280  # channels before the classifier
    position: str = "stage"  # tables of position biases: one per "stage", per "block", or "none"
    in_chans: int = 3  # image channels
    num_classes: int = 1000  # 0: no classifier

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            _require_int(name, getattr(self, name), least=least)
        if not isinstance(self.stages, tuple) or not self.stages:
            raise ArchError(f"stages={self.stages!r} holds no stage; give a tuple of at least one")
        for i, stage in enumerate(self.stages):
            _check_stage(stage, where=f"stages[{i}]")
        if self.position not in POSITIONS:
            raise ArchError(
                f"position={self.position!r} is unknown; use one of {', '.join(POSITIONS)}"
            )

    @property
    def depth(self) -> int:
        """Total number of blocks."""
        return sum(stage.depth for stage in self.stages)

    @property
    def total_stride(self) -> int:
        """Input pixels per pixel of the last stage, along one side."""
        return self.stem_stride << len(self.stages)

    @property
    def key(self) -> str:
        """Stable hash of the realised network: equal keys build equal networks."""
        sizes = (self.resolution, self.stem_width, self.stem_stride, self.neck_width)
        ends = (self.in_chans, self.num_classes)
        rows = [(s.depth, s.width, s.heads, s.kv_stride, s.hidden) for s in self.stages]
        # Options enter only where they differ from CMT's, so that older keys keep their meaning.
        options: dict[str, Any] = {}
        if any(s.qk_width != s.width for s in self.stages):
            options["qk"] = [s.qk_width for s in self.stages]
        if self.position != "stage":
            options["position"] = self.position
        parts = [*sizes, *ends, rows, *([options] if options else [])]
        text = json.dumps(parts, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON and YAML; `from_dict` reads them back."""
        return {**asdict(self), "stages": [asdict(stage) for stage in self.stages]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            ArchError: a key is missing or unknown, or a value is impossible; the message names it.
        """
        values = _known(data, of=cls, where="arch")
        stages = values["stages"]
        if not isinstance(stages, list | tuple):
            raise ArchError(f"arch.stages={stages!r} is not a list; give a list of stages")
        read = tuple(
            Stage(**_known(row, of=Stage, where=f"arch.stages[{i}]"))
            for i, row in enumerate(stages)
        )
        return cls(**{**values, "stages": read})


POSITIONS = ("stage", "block", "none")

_LEAST = {
    "resolution": 1,
    "stem_width": 1,
    "stem_stride": 1,
    "neck_width": 1,
    "in_chans": 1,
    "num_classes": 0,
}


def _check_stage(stage: object, *, where: str) -> None:
    if not isinstance(stage, Stage):
        raise ArchError(f"{where}={stage!r} is no Stage; write Stage(depth=, width=, heads=)")
    for name in ("depth", "width", "heads", "kv_stride"):
        _require_int(f"{where}.{name}", getattr(stage, name), least=1)
    ratio = stage.mlp_ratio
    if isinstance(ratio, bool) or not isinstance(ratio, int | float):
        raise ArchError(f"{where}.mlp_ratio={ratio!r} is not a number; use about 4")
    if not 0 < ratio < 1e3 or stage.hidden < 1:  # also refuses NaN
        raise ArchError(f"{where}.mlp_ratio={ratio} leaves no sensible hidden width; use about 4")
    if stage.width % stage.heads:
        legal = -(-stage.width // stage.heads) * stage.heads
        raise ArchError(
            f"{where}.width={stage.width} is not divisible by heads={stage.heads}; use {legal}"
        )
    ratio = stage.qk_ratio
    if isinstance(ratio, bool) or not isinstance(ratio, int | float):
        raise ArchError(f"{where}.qk_ratio={ratio!r} is not a number; use 1, or less to save MACs")
    if not 0 < ratio <= 8 or stage.qk_width < 1:  # also refuses NaN
        raise ArchError(
            f"{where}.qk_ratio={ratio} leaves no sensible width of queries and keys; "
            "use 1, or less to save MACs"
        )


def _known(data: object, *, of: type[Arch] | type[Stage], where: str) -> dict[str, Any]:
    """The mapping as a dict, once its keys are exactly those that the dataclass takes."""
    if not isinstance(data, Mapping):
        raise ArchError(f"{where}={data!r} is not a mapping; write `field: value` pairs")
    names = {f.name for f in fields(of)}
    unknown = sorted(str(key) for key in data if key not in names)
    if unknown:
        raise ArchError(
            f"{where}.{unknown[0]} is unknown; {where} takes {', '.join(sorted(names))}"
        )
    required = ("resolution", "stem_width", "stages") if of is Arch else ("depth", "width", "heads")
    missing = [name for name in required if name not in data]
    if missing:
        raise ArchError(f"{where}.{missing[0]} is missing; add it")
    return dict(data)
