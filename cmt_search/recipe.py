"""Training recipe and augmentation: plain values of a space or recipe file."""

import math
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Annotated, Literal

from annotated_types import Interval

from cmt_search.errors import SpaceError
from cmt_search.fields import BelowOne, Fraction, check_fields

OptimizerName = Literal["adamw", "sgd", "lion", "muon"]
ScheduleName = Literal["cosine", "one-cycle", "constant", "wsd"]
ONE_CYCLE_START = 1 / 25  # of the peak; what PyTorch's OneCycleLR begins with
SHORT = 30  # epochs below which strong regularisation costs accuracy
_DEEPEST_RATE = 0.9  # of drop path, however deep the network

Area = Annotated[float, Interval(gt=0, le=1)]
BatchSize = Annotated[int, Interval(ge=2, le=1_048_576)]  # BatchNorm needs two images
Beta = Annotated[float, Interval(ge=0, le=10)]
Lr = Annotated[float, Interval(gt=0, le=100)]
Power = Annotated[float, Interval(ge=-2, le=2)]
Size = Annotated[int, Interval(ge=1, le=1_000_000)]
WeightDecay = Annotated[float, Interval(ge=0, le=10)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Augment:
    """Augmentation of training images; each image has draws of its own.

    The defaults suit trainings of a few epochs. Mixup, cutmix and RandAugment pay from thirty
    epochs on; below, they usually cost accuracy.

    Raises:
        SpaceError: a value is out of range; the message names its key.
    """

    flip: bool = True  # mirror half of the images
    translate: Annotated[float, Interval(ge=0, le=0.5)] = 0.07  # largest shift, as a part of the
    # side; not used with resized_crop
    resized_crop: tuple[Area, Area] | None = None  # least and largest area, such as [0.35, 1]
    color_jitter: Fraction = 0.0  # largest relative change of brightness, contrast, saturation
    random_erasing: Fraction = 0.0  # probability that a box of 2% to a third is blanked
    mixup: Beta = 0.0  # alpha of the blend's Beta distribution, such as 0.2; 0 is off
    cutmix: Beta = 0.0  # of the pasted area, such as 1; with mixup, each image takes one of both
    rand_augment: Annotated[int, Interval(ge=0, le=8)] = 0  # RandAugment operations per image
    rand_magnitude: Annotated[float, Interval(ge=0, le=10)] = 9.0  # of these operations

    def __post_init__(self) -> None:
        check_fields(self, where="augment.")
        if self.resized_crop is not None and self.resized_crop[0] > self.resized_crop[1]:
            low, high = self.resized_crop
            raise SpaceError(f"resized_crop: the least area {low} is above {high}; swap them")

    @property
    def mixes(self) -> bool:
        """Whether images are blended with each other, so that targets are shares of classes."""
        return self.mixup > 0 or self.cutmix > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoPhase:
    """A second optimiser for the last part of a training.

    Each phase has a schedule of its own: the first ends as the recipe's does, at `at` of the
    steps; the second starts at its own `lr`, without warm-up.
    Source: Convolutional Xformers, arXiv:2201.10271 (an adaptive optimiser first, then SGD).

    Raises:
        SpaceError: a value is out of range; the message names its key.
    """

    at: Annotated[float, Interval(gt=0, lt=1)] = 0.75  # fraction of all steps before it begins
    optimizer: OptimizerName = "sgd"
    lr: Lr = 1e-3  # scaled with batch and width as the recipe's
    momentum: BelowOne = 0.9
    weight_decay: WeightDecay | None = None  # null: the recipe's
    schedule: Literal["cosine", "constant"] = "constant"

    def __post_init__(self) -> None:
        check_fields(self, where="two_phase.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a network is trained; the defaults suit a short proxy training.

    AdamW, linear warm-up, then a cosine to zero, step by step, with mild augmentation. The schedule
    "wsd" (warm-up, stable, decay) keeps its rate and comes down at the end alone, so that trainings
    of several lengths are one for the most part; see `shared_epochs`.
    Source: wsd, 1 - sqrt and its share of a fifth: Hägele et al., arXiv:2405.18392.

    Raises:
        SpaceError: a value is out of range; the message names its key.
    """

    batch: BatchSize = 64  # images per step
    micro_batch: BatchSize | None = None  # images per pass, a divisor of batch; null: the batch
    optimizer: OptimizerName = "adamw"
    lr: Lr = 4e-3  # at the end of the warm-up, before the scaling below
    lr_batch: BatchSize | None = None  # batch that `lr` is for; null: for any
    lr_batch_power: Annotated[float, Interval(ge=0, le=2)] = 1.0  # lr grows as
    # (batch / lr_batch) ** power: 1 linear, 0.5 square root
    lr_sizes: tuple[Size, Size, Size] | None = None  # blocks, channels of the first stage and
    # pixels of the network that `lr` is for; null: for any
    lr_powers: tuple[Power, Power, Power] = (0.0, -1.0, 0.0)  # exponents of (size / lr_size)
    momentum: BelowOne = 0.9  # of SGD and Muon
    betas: tuple[BelowOne, BelowOne] | None = None  # of AdamW, Lion and Muon's AdamW; null: default
    weight_decay: WeightDecay = 0.05  # not on biases, norms and, unless decay_position, tables
    schedule: ScheduleName = "cosine"
    warmup_fraction: BelowOne = 0.15  # of all steps
    warmup_epochs: Annotated[float, Interval(ge=0, le=100_000)] | None = None  # replaces
    # warmup_fraction: the same for trainings of every length
    decay_fraction: Annotated[float, Interval(gt=0, le=1)] = 0.2  # last steps, in which wsd decays
    final_lr: Fraction = 0.0  # where the schedule ends, as a fraction of its peak
    label_smoothing: BelowOne = 0.0  # in training only
    augment: Augment = field(default_factory=Augment)
    drop_path: BelowOne = 0.0  # rate at the last block
    drop_path_depth: Size | None = None  # blocks of a network of that rate; rates grow with depth
    clip_grad: Annotated[float, Interval(gt=0, le=1e6)] | None = None  # largest gradient norm
    ema: Annotated[float, Interval(gt=0, lt=1)] | None = None  # decay of the averaged weights that
    # are measured, such as 0.999; null: no average
    pos_std: Annotated[float, Interval(ge=0, le=10)] = 0.02  # of the initial position tables
    decay_position: bool = False  # whether weight decay acts on position tables; CMT's own does
    residual_scale: Annotated[float, Interval(ge=0, le=10)] = 0.0  # of the residual branches at the
    # start; 1 is the paper's
    two_phase: TwoPhase | None = None

    def __post_init__(self) -> None:
        check_fields(self, where="recipe.")
        # Micro-batches of one size: BatchNorm sees that many images in every pass.
        if self.micro_batch is not None and self.batch % self.micro_batch:
            raise SpaceError(
                f"micro_batch={self.micro_batch} does not divide batch={self.batch}; "
                "use a divisor of at least 2, or null"
            )

    def lr_scale(self, *, sizes: tuple[int, int, int], batch: int | None = None) -> float:
        """Return the factor of learning rates for a network of these sizes.

        Units: sizes are blocks, channels of the first stage and pixels; batch in images, by
        default `batch`.
        """
        factor = 1.0
        if self.lr_batch is not None:
            factor *= ((batch or self.batch) / self.lr_batch) ** self.lr_batch_power
        for size, lr_size, power in zip(sizes, self.lr_sizes or sizes, self.lr_powers, strict=True):
            factor *= (size / lr_size) ** power
        return factor

    def shared_epochs(self, epochs: int) -> int:
        """Count the leading epochs that are identical in a longer training.

        A longer training can start from the checkpoint after them. A cosine shares none, since its
        end depends on the length; a constant rate shares all.
        """
        fixed = self.warmup_epochs is not None or self.warmup_fraction == 0
        if not fixed or self.two_phase is not None:
            return 0
        if self.schedule == "wsd":
            return math.floor(epochs * (1 - self.decay_fraction) + 1e-9)
        return epochs if self.schedule == "constant" else 0

    def drop_path_rate(self, depth: int) -> float:
        """Return the rate at the last block of a network of `depth` blocks."""
        if self.drop_path_depth is None:
            return self.drop_path
        return min(self.drop_path * depth / self.drop_path_depth, _DEEPEST_RATE)

    def notes(self, *, epochs: int) -> tuple[str, ...]:
        """Return warnings about a training of `epochs` epochs."""
        strong = ("drop_path", "augment.mixup", "augment.cutmix", "augment.rand_augment")
        return tuple(
            f"proxy.recipe.{name} is on in a training of {epochs} epochs; it usually costs "
            f"accuracy below {SHORT}: leave it out, or train longer"
            for name in strong
            if epochs < SHORT and attrgetter(name)(self) > 0
        )
