"""Which images a proxy learns from: plain values that a space file holds."""

from dataclasses import dataclass
from typing import Literal

from cmt_search.errors import DataError

EMBEDDED = "fashion-mnist-10k"
TIMM = "timm:"  # what names of timm.data.create_dataset begin with here
_NATIVE = {EMBEDDED: 28, "fashion-mnist": 28, "cifar10": 32}  # side in pixels
_CHANNELS = {EMBEDDED: 1, "fashion-mnist": 1}  # all others have three
_CLASSES = {EMBEDDED: 10, "fashion-mnist": 10, "cifar10": 10}
_SPLITS = {"train_split": "train", "val_split": "validation"}
DATASETS = (*_NATIVE, "folder")
_WHERE = "proxy.dataset"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSpec:
    """Which images to learn from.

    `timm:NAME` reads what `timm.data.create_dataset(NAME)` reads: `timm:` alone a folder or tar
    file of images, `timm:torch/cifar100`, `timm:hfds/OWNER/NAME`, `timm:wds/NAME`.

    `split` names the images that networks are measured on: "validation" in searches; "test" is
    disjoint from it and held out for final comparisons (`cmt-search confirm`).

    Raises:
        DataError: the name is unknown, `root` or `size` is missing or has no use, or a choice of
            images is impossible.
    """

    name: str = EMBEDDED
    root: str | None = None  # folder on this machine; the embedded set needs none
    size: int | None = None  # pixels; side at which images of a folder or of timm's are stored
    split: Literal["validation", "test"] = "validation"
    train_split: str = "train"  # as the source calls it; timm's only
    val_split: str | None = "validation"  # likewise; None: it has none, so a fifth is held out
    classes: int | tuple[str, ...] | None = None  # how many, drawn at random, or which; None: all
    per_class: int | None = None  # training images of each class; None: all
    fraction: float | None = None  # of the training images of each class; None: all
    subset_seed: int = 0  # of these draws; a smaller choice lies within a larger one

    def __post_init__(self) -> None:
        if self.name not in DATASETS and not self.name.startswith(TIMM):
            raise DataError(
                f"{_WHERE}.name={self.name!r} is unknown; use one of {', '.join(DATASETS)}, or "
                f"{TIMM}NAME for what timm.data.create_dataset reads"
            )
        if self.split not in ("validation", "test"):
            raise DataError(f"{_WHERE}.split={self.split!r} is unknown; use validation or test")
        _check_root(self)
        _check_size(self)
        _check_splits(self)
        _check_choice(self)

    @property
    def of_timm(self) -> str | None:
        """The name that timm.data.create_dataset takes; None for other sources."""
        return self.name.removeprefix(TIMM) if self.name.startswith(TIMM) else None

    @property
    def native_resolution(self) -> int:
        """Side of the stored images, pixels; larger networks see interpolated ones."""
        return _NATIVE.get(self.name) or self.size or 0

    @property
    def in_chans(self) -> int:
        """Image channels."""
        return _CHANNELS.get(self.name, 3)

    @property
    def num_classes(self) -> int | None:
        """Classes; None: as many as the source has."""
        if self.classes is None:
            return _CLASSES.get(self.name)
        return self.classes if isinstance(self.classes, int) else len(self.classes)


def _check_root(spec: DatasetSpec) -> None:
    if spec.name == EMBEDDED and spec.root is not None:
        raise DataError(f"{_WHERE}.root has no use: {EMBEDDED} is part of the package; remove it")
    elsewhere = (spec.of_timm or "").lower().startswith("hfds/")  # in Hugging Face's own cache
    if spec.name != EMBEDDED and spec.root is None and not elsewhere:
        raise DataError(f"{_WHERE}.root is missing; {spec.name} needs the folder it lies in")


def _check_size(spec: DatasetSpec) -> None:
    decoded = spec.name == "folder" or spec.of_timm is not None
    if not decoded and spec.size is not None:
        raise DataError(f"{_WHERE}.size has no use: {spec.name} has a size of its own; remove it")
    if decoded and (not isinstance(spec.size, int) or spec.size < 1):
        of = "a folder" if spec.name == "folder" else spec.name
        raise DataError(
            f"{_WHERE}.size={spec.size!r}: images of {of} are stored as squares; "
            "give their side in pixels, such as 64"
        )


def _check_splits(spec: DatasetSpec) -> None:
    if spec.of_timm is not None:
        return
    for name, usual in _SPLITS.items():
        if getattr(spec, name) != usual:
            raise DataError(
                f"{_WHERE}.{name} has no use: {spec.name} has splits of its own; remove it"
            )


def _check_choice(spec: DatasetSpec) -> None:
    few = spec.classes if isinstance(spec.classes, int) else len(spec.classes or ("", ""))
    if few < 2 or (isinstance(spec.classes, tuple) and len(set(spec.classes)) != few):
        raise DataError(
            f"{_WHERE}.classes={spec.classes!r} is impossible; give how many, at least 2, or a "
            "list of two names or more, each once"
        )
    if spec.per_class is not None and spec.fraction is not None:
        raise DataError(f"{_WHERE}: per_class and fraction both choose images; keep one of them")
    if spec.per_class is not None and spec.per_class < 1:
        raise DataError(f"{_WHERE}.per_class={spec.per_class} is impossible; use at least 1")
    if spec.fraction is not None and not 0 < spec.fraction <= 1:
        raise DataError(f"{_WHERE}.fraction={spec.fraction} is impossible; use 0 < fraction <= 1")
    if not 0 <= spec.subset_seed < 2**32:
        raise DataError(
            f"{_WHERE}.subset_seed={spec.subset_seed} is impossible; use 0 to {2**32 - 1}"
        )
