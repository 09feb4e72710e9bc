"""The input of every exporter: a variant, its weights if any, and the reference network."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cmt_search.export.provenance import plain
from cmt_search.export.variant import Variant

if TYPE_CHECKING:
    from torch import Tensor

    from cmt_search.builder import CMT

FRESH = "Freshly initialised with seed 0: no training."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Weights:
    """A trained state dict, how it came about, and the images that it expects."""

    state: "Mapping[str, Tensor]"
    origin: str  # a sentence
    mean: tuple[float, ...]  # per channel, of pixels in 0..1
    std: tuple[float, ...]
    classes: tuple[str, ...] = ()  # names of the outputs, in order
    training: Mapping[str, Any] = field(default_factory=dict)  # plain values: top1, epochs, ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """A variant to export."""

    variant: Variant
    weights: Weights | None = None
    license: str | None = None  # identifier of the Hub, such as "mit"; the model card states it

    @cached_property
    def model(self) -> "CMT":
        """The network in evaluation mode: with its weights, else as seed 0 initialises it."""
        import torch

        from cmt_search.builder import CMT

        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            model = CMT(self.variant.arch)
        if self.weights is not None:
            model.load_state_dict(self.weights.state)
        return model.eval()

    @cached_property
    def images(self) -> "Tensor":
        """Three images to compare logits on. Shape: (3, in_chans, resolution, resolution)."""
        import torch

        arch = self.variant.arch
        shape = (3, arch.in_chans, arch.resolution, arch.resolution)
        return torch.randn(shape, generator=torch.Generator().manual_seed(1))

    @cached_property
    def logits(self) -> "Tensor":
        """The logits of the images. Shape: (3, num_classes)."""
        import torch

        with torch.no_grad():
            logits: Tensor = self.model(self.images)
        return logits

    @property
    def origin(self) -> str:
        """How the weights came about, in a sentence."""
        return FRESH if self.weights is None else self.weights.origin

    def image_statistics(self) -> dict[str, Any]:
        """Mean and standard deviation per channel that trained weights expect; else nothing."""
        if self.weights is None:
            return {}
        return {"mean": list(self.weights.mean), "std": list(self.weights.std)}

    def state_bytes(self) -> bytes:
        """The network's state dict as the bytes of a safetensors file."""
        from safetensors.torch import save

        state = {name: value.contiguous() for name, value in self.model.state_dict().items()}
        data: bytes = save(state, metadata={"format": "pt"})
        return data

    def weights_note(self, file: str, data: bytes) -> dict[str, Any]:
        """Describe a file of weights: checksum, origin, training, and normalization of images."""
        note = {"file": file, "sha256": hashlib.sha256(data).hexdigest(), "origin": self.origin}
        if (trained := self.weights) is None:
            return {**note, "training": {}}
        images = {"mean": trained.mean, "std": trained.std, "classes": trained.classes}
        details = plain({"training": trained.training, **images}, where="weights")
        return {**note, **details}
