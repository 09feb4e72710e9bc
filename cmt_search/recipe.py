"""Training recipe and augmentation: plain values of a space or recipe file."""

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

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


OptimizerName = Literal["adamw", "sgd", "lion", "muon"]
ScheduleName = Literal["cosine", "one-cycle", "constant", "wsd"]
ONE_CYCLE_START = 1 / 25  # of the peak; what PyTorch's OneCycleLR begins with
SHORT = 30  # epochs below which strong regularisation costs accuracy
_DEEPEST_RATE = 0.9  # of drop path, however deep the network


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoPhase:
    """A second optimiser that takes over for the last part of a training.

    Each phase has a schedule of its own: the first ends as the recipe's does, at `at` of the
    steps; the second starts at its own `lr`, without warm-up.
    Source: Convolutional Xformers, arXiv:2201.10271 (an adaptive optimiser first, then SGD).

    Raises:
        SpaceError: a value is impossible; the message names its key.
    """

    at: float = 0.75  # fraction of all steps after which the second phase begins
    optimizer: OptimizerName = "sgd"
    lr: float = 1e-3  # scaled with batch and width as the recipe's
    momentum: float = 0.9
    weight_decay: float | None = None  # None: the recipe's
    schedule: Literal["cosine", "constant"] = "constant"

    def __post_init__(self) -> None:
        where = "two_phase."
        _require_recipe(
            f"{where}at", self.at, 0 < self.at < 1, "a fraction of the steps, such as 0.75"
        )
        _one_of(f"{where}optimizer", self.optimizer, get_args(OptimizerName))
        _require_recipe(f"{where}lr", self.lr, 0 < self.lr < math.inf, "about 0.001")
        _require_recipe(f"{where}momentum", self.momentum, 0 <= self.momentum < 1, "0 to below 1")
        decay = self.weight_decay
        good = decay is None or 0 <= decay < math.inf
        _require_recipe(f"{where}weight_decay", decay, good, "about 0.05, or null for the recipe's")
        _one_of(f"{where}schedule", self.schedule, ("cosine", "constant"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a network is trained; the defaults suit a short proxy training.

    AdamW, linear warm-up, then a cosine to zero, step by step, with mild augmentation. The schedule
    "wsd" (warm-up, stable, decay) keeps its rate and comes down at the end alone, so that trainings
    of several lengths are one for the most part; see `shared_epochs`.
    Source: wsd, 1 - sqrt and its share of a fifth: Hägele et al., arXiv:2405.18392.

    Raises:
        SpaceError: a value is impossible; the message names its key in the space file.
    """

    batch: int = 64  # images per step
    micro_batch: int | None = None  # images per forward and backward pass; None: the batch
    optimizer: OptimizerName = "adamw"
    lr: float = 4e-3  # at the end of the warm-up, before the scaling below
    lr_batch: int | None = None  # batch that `lr` is for; None: for any
    lr_batch_power: float = 1.0  # lr grows as (batch / lr_batch) ** power: 1 linear, 0.5 root
    lr_sizes: tuple[int, int, int] | None = None  # blocks, channels of the first stage and pixels
    # of the network that `lr` is for; None: for any
    lr_powers: tuple[float, float, float] = (0.0, -1.0, 0.0)  # lr grows as each (size / own) ** it
    momentum: float = 0.9  # of SGD and Muon
    betas: tuple[float, float] | None = None  # of AdamW, Lion and Muon's AdamW; None: its own
    weight_decay: float = 0.05  # not on biases, norms and, unless decay_position, tables
    schedule: ScheduleName = "cosine"
    warmup_fraction: float = 0.15  # of all steps
    warmup_epochs: float | None = None  # in its place: the same for trainings of every length
    decay_fraction: float = 0.2  # of all steps, the last: where wsd comes down
    final_lr: float = 0.0  # where the schedule ends, as a fraction of its peak
    label_smoothing: float = 0.0  # in training only
    augment: Augment = field(default_factory=Augment)
    drop_path: float = 0.0  # rate at the last block
    drop_path_depth: int | None = None  # blocks of a network of that rate; rates grow with depth
    clip_grad: float | None = None  # largest gradient norm
    ema: float | None = None  # decay of the average of weights that is measured; None: no average
    pos_std: float = 0.02  # of the position tables at the start
    decay_position: bool = False  # whether weight decay acts on position tables; CMT's own does
    residual_scale: float = 0.0  # of the residual branches at the start; 1 is the paper's
    two_phase: TwoPhase | None = None

    def __post_init__(self) -> None:
        _require_recipe("batch", self.batch, self.batch >= 2, "at least 2: BatchNorm needs two")
        _one_of("optimizer", self.optimizer, get_args(OptimizerName))
        _one_of("schedule", self.schedule, get_args(ScheduleName))
        _require_recipe("lr", self.lr, 0 < self.lr < math.inf, "about 0.004")
        _require_recipe(
            "weight_decay", self.weight_decay, 0 <= self.weight_decay < math.inf, "about 0.05"
        )
        _require_recipe("pos_std", self.pos_std, 0 <= self.pos_std < math.inf, "about 0.02")
        scale = self.residual_scale
        _require_recipe("residual_scale", scale, 0 <= scale < math.inf, "0, or 1 as in the paper")
        for name in ("warmup_fraction", "label_smoothing", "drop_path", "momentum"):
            value = getattr(self, name)
            _require_recipe(name, value, 0 <= value < 1, "0 to below 1")
        _require_recipe("final_lr", self.final_lr, 0 <= self.final_lr <= 1, "0 to 1, a part of lr")
        power = self.lr_batch_power
        _require_recipe("lr_batch_power", power, 0 <= power <= 2, "1, or 0.5 for a square root")
        self._check_optional()

    def _check_optional(self) -> None:
        clip, ema, betas, micro = self.clip_grad, self.ema, self.betas, self.micro_batch
        good = clip is None or clip > 0
        _require_recipe("clip_grad", clip, good, "about 1, or null for none")
        good = ema is None or 0 < ema < 1
        _require_recipe("ema", ema, good, "about 0.999, or null for no average")
        warmup, decay = self.warmup_epochs, self.decay_fraction
        good = warmup is None or 0 <= warmup < math.inf
        _require_recipe("warmup_epochs", warmup, good, "about 1, or null to go by warmup_fraction")
        _require_recipe(
            "decay_fraction", decay, 0 < decay <= 1, "above 0 and at most 1, such as 0.2"
        )
        good = betas is None or (len(betas) == 2 and all(0 <= beta < 1 for beta in betas))
        _require_recipe("betas", betas, good, "two decays such as [0.9, 0.999], or null")
        # Micro-batches of one size: BatchNorm sees that many images in every pass.
        good = micro is None or (2 <= micro <= self.batch and self.batch % micro == 0)
        _require_recipe(
            "micro_batch", micro, good, f"a divisor of batch={self.batch} from 2 on, or null"
        )
        for name in ("lr_batch", "drop_path_depth"):
            value = getattr(self, name)
            _require_recipe(
                name, value, value is None or value >= 1, "at least 1, or null for no scaling"
            )
        sizes, powers = self.lr_sizes, self.lr_powers
        good = sizes is None or (len(sizes) == 3 and all(size >= 1 for size in sizes))
        _require_recipe(
            "lr_sizes", sizes, good, "[blocks, channels, pixels], or null for no scaling"
        )
        good = len(powers) == 3 and all(-2 <= power <= 2 for power in powers)
        _require_recipe("lr_powers", powers, good, "three powers from -2 to 2, such as [0, -1, 0]")

    def lr_scale(self, *, sizes: tuple[int, int, int], batch: int | None = None) -> float:
        """What learning rates are multiplied with, for a network of these sizes.

        Units: sizes are blocks, channels of the first stage and pixels; batch in images, by
        default `batch`.
        """
        factor = 1.0
        if self.lr_batch is not None:
            factor *= ((batch or self.batch) / self.lr_batch) ** self.lr_batch_power
        for own, known, power in zip(sizes, self.lr_sizes or sizes, self.lr_powers, strict=True):
            factor *= (own / known) ** power
        return factor

    def shared_epochs(self, epochs: int) -> int:
        """Whole epochs, from the first on, that a longer training would go through just as well.

        None of a cosine, which ends where the training does; all of a constant rate. What a longer
        training takes up after them is what it would have come to by itself.
        """
        fixed = self.warmup_epochs is not None or self.warmup_fraction == 0
        if not fixed or self.two_phase is not None:
            return 0
        if self.schedule == "wsd":
            return math.floor(epochs * (1 - self.decay_fraction) + 1e-9)
        return epochs if self.schedule == "constant" else 0

    def drop_path_rate(self, depth: int) -> float:
        """Rate at the last block of a network of `depth` blocks."""
        if self.drop_path_depth is None:
            return self.drop_path
        return min(self.drop_path * depth / self.drop_path_depth, _DEEPEST_RATE)

    def notes(self, *, epochs: int) -> tuple[str, ...]:
        """What a user should know before training with this for so many epochs."""
        strong = {
            "drop_path": self.drop_path > 0,
            "augment.mixup": self.augment.mixup > 0,
            "augment.cutmix": self.augment.cutmix > 0,
            "augment.rand_augment": self.augment.rand_augment > 0,
        }
        if epochs >= SHORT:
            return ()
        return tuple(
            f"proxy.recipe.{name} is on in a training of {epochs} epochs; it usually costs "
            f"accuracy below {SHORT}: leave it out, or train longer"
            for name, on in strong.items()
            if on
        )


def _require_recipe(name: str, value: object, good: bool, use: str) -> None:
    if not good:
        raise SpaceError(f"proxy.recipe.{name}={value!r} is impossible; use {use}")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise SpaceError(f"proxy.recipe.{name}={value!r} is unknown; use {', '.join(known)}")
