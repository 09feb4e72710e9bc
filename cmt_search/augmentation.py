"""How training images are varied: plain values that a space file holds."""

import math
from dataclasses import dataclass

from cmt_search.errors import SpaceError


@dataclass(frozen=True, slots=True, kw_only=True)
class Augment:
    """How training images are varied, each with draws of its own.

    The defaults suit trainings of a few epochs. Mixup, cutmix and RandAugment are for thirty and
    more: below, they cost more accuracy than they bring.

    Raises:
        SpaceError: a value is impossible; the message names its key in the space file.
    """

    flip: bool = True  # mirror half of the images
    translate: float = 0.07  # of the side: the largest shift; not used with resized_crop
    resized_crop: tuple[float, float] | None = None  # least and largest area, such as [0.35, 1]
    color_jitter: float = 0.0  # brightness, contrast and saturation change by up to this part
    random_erasing: float = 0.0  # probability that a box of 2% to a third is blanked
    mixup: float = 0.0  # alpha of the blend's Beta distribution; 0 is off
    cutmix: float = 0.0  # likewise of the pasted area; with mixup, each image takes one of both
    rand_augment: int = 0  # operations of RandAugment on each image; 0 is off
    rand_magnitude: float = 9.0  # of these operations, 0 to 10

    def __post_init__(self) -> None:
        _require("flip", self.flip, isinstance(self.flip, bool), "true or false")
        _require("translate", self.translate, 0 <= self.translate <= 0.5, "0 to 0.5")
        if (areas := self.resized_crop) is not None:
            good = len(areas) == 2 and 0 < areas[0] <= areas[1] <= 1
            use = "the least and the largest area, such as [0.35, 1], or null for none"
            _require("resized_crop", areas, good, use)
        for name in ("color_jitter", "random_erasing"):
            value = getattr(self, name)
            _require(name, value, 0 <= value <= 1, "0 to 1")
        for name, usual in (("mixup", "0.2"), ("cutmix", "1")):
            value = getattr(self, name)
            _require(name, value, 0 <= value < math.inf, f"about {usual}, or 0 for none")
        ops = self.rand_augment
        whole = isinstance(ops, int) and not isinstance(ops, bool)
        _require("rand_augment", ops, whole and 0 <= ops <= 8, "0 to 8 operations, such as 2")
        _require("rand_magnitude", self.rand_magnitude, 0 <= self.rand_magnitude <= 10, "0 to 10")

    @property
    def mixes(self) -> bool:
        """Whether images are blended with each other, so that targets are shares of classes."""
        return self.mixup > 0 or self.cutmix > 0


def _require(name: str, value: object, good: bool, use: str) -> None:
    if not good:
        raise SpaceError(f"proxy.recipe.augment.{name}={value!r} is impossible; use {use}")
