"""The one description of a network: plain frozen values, no torch."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Annotated, Any, Literal, Self, get_args

from annotated_types import Interval, Len

from cmt_search.errors import ArchError, brief
from cmt_search.fields import check_fields

Channels = Annotated[int, Interval(ge=1, le=100_000)]
Side = Annotated[int, Interval(ge=1, le=16_384)]  # pixels
Stride = Annotated[int, Interval(ge=1, le=64)]
MlpRatio = Annotated[float, Interval(gt=0, lt=1000)]
QkRatio = Annotated[float, Interval(gt=0, le=8)]
Position = Literal["stage", "block", "none"]
POSITIONS: tuple[Position, ...] = get_args(Position)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Blocks that share one resolution and one width."""

    depth: Annotated[int, Interval(ge=1, le=10_000)]  # blocks
    width: Channels
    heads: Channels  # attention heads; divides width
    kv_stride: Stride = 1  # stride on keys and values; 1 is plain attention
    mlp_ratio: MlpRatio = 4.0  # IRFFN hidden channels / width
    qk_ratio: QkRatio = 1.0  # channels of queries and keys / width; values keep the width

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
    """A fully specified network.

    Raises:
        ArchError: a size is out of range, or a width is not divisible by its heads.
    Source: CMT, arXiv:2107.06263, section 3; stem stride, key strides and neck are knobs here.
    """

    resolution: Side  # of the input
    stem_width: Channels
    stages: Annotated[tuple[Stage, ...], Len(1)]
    stem_stride: Stride = 2  # stride of the first convolution
    neck_width: Channels = 1280  # channels before the classifier
    position: Position = "stage"  # tables of position biases: per stage, per block, or none
    in_chans: Channels = 3  # image channels
    num_classes: Annotated[int, Interval(ge=0, le=10_000_000)] = 1000  # 0: no classifier

    def __post_init__(self) -> None:
        check_fields(self, error=ArchError)
        for i, stage in enumerate(self.stages):
            _check_stage(stage, where=f"stages[{i}].")

    @property
    def depth(self) -> int:
        """Total number of blocks."""
        return sum(stage.depth for stage in self.stages)

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
        """Return plain values for JSON and YAML; `from_dict` reads them back."""
        return {**asdict(self), "stages": [asdict(stage) for stage in self.stages]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read the values that `to_dict` wrote.

        Raises:
            ArchError: a key is missing or unknown, or a value is impossible; the message names it.
        """
        values = _known(data, of=cls, where="arch")
        stages = values["stages"]
        if not isinstance(stages, list | tuple):
            raise ArchError(f"arch.stages={brief(stages)} is not a list; give a list of stages")
        read = tuple(
            Stage(**_known(row, of=Stage, where=f"arch.stages[{i}]"))
            for i, row in enumerate(stages)
        )
        return cls(**{**values, "stages": read})


def _check_stage(stage: Stage, *, where: str) -> None:
    check_fields(stage, where=where, error=ArchError)
    if stage.width % stage.heads:
        legal = -(-stage.width // stage.heads) * stage.heads
        raise ArchError(
            f"{where}width={stage.width} is not divisible by heads={stage.heads}; use {legal}"
        )
    for name, channels in (("mlp_ratio", stage.hidden), ("qk_ratio", stage.qk_width)):
        if channels < 1:
            ratio = getattr(stage, name)
            raise ArchError(f"{where}{name}={ratio} leaves no channels; use a larger ratio")


def _known(data: object, *, of: type[Arch] | type[Stage], where: str) -> dict[str, Any]:
    """Return the mapping as a dict; its keys must be those of the dataclass."""
    if not isinstance(data, Mapping):
        raise ArchError(f"{where}={brief(data)} is not a mapping; write `field: value` pairs")
    names = {f.name: f.default is MISSING for f in fields(of)}
    for key in data:
        if key not in names:
            raise ArchError(f"{where}.{str(key)[:80]} is unknown; use {', '.join(names)}")
    for name, is_required in names.items():
        if is_required and name not in data:
            raise ArchError(f"{where}.{name} is missing; add it")
    return dict(data)
