"""Which images a proxy learns from: plain values that a space file holds."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from cmt_search.errors import SpaceError
from cmt_search.fields import check_fields

EMBEDDED = "fashion-mnist-10k"
TIMM = "timm:"  # prefix of the names of timm.data.create_dataset
_NATIVE = {EMBEDDED: 28, "fashion-mnist": 28, "cifar10": 32}  # sides in pixels; ten classes each
DATASETS = (*_NATIVE, "folder")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSpec:
    """Which images to learn from.

    `timm:NAME` reads what `timm.data.create_dataset(NAME)` reads: `timm:` alone a folder or tar
    file of images, `timm:torch/cifar100`, `timm:hfds/OWNER/NAME`, `timm:wds/NAME`.

    `split` names the images that networks are measured on: "validation" in searches; "test" is
    disjoint from it and held out for final comparisons (`cmt-search confirm`).

    Raises:
        SpaceError: a value is out of range, missing, or does not apply to the data set.
    """

    name: str = EMBEDDED
    root: str | None = None  # folder on this machine; the embedded set needs none
    size: Annotated[int, Interval(ge=1, le=4096)] | None = None  # pixels per side at which images
    # of a folder or of timm's are stored
    split: Literal["validation", "test"] = "validation"
    train_split: str = "train"  # as the source calls it; timm's only
    val_split: str | None = "validation"  # likewise; null: it has none, so a fifth is held out
    classes: Annotated[int, Interval(ge=2, le=1_000_000)] | tuple[str, ...] | None = None  # how
    # many, drawn at random, or their names; null: all
    per_class: Annotated[int, Interval(ge=1, le=1_000_000_000)] | None = None  # training images of
    # each class; null: all
    fraction: Annotated[float, Interval(ge=0.0001, le=1)] | None = None  # of the training images of
    # each class; null: all
    subset_seed: Annotated[int, Interval(ge=0, le=2**32 - 1)] = 0  # of these draws; a smaller
    # choice lies within a larger one

    def __post_init__(self) -> None:
        check_fields(self, where="dataset.")
        if problem := self._problem():
            raise SpaceError(problem)

    def _problem(self) -> str | None:
        """Say what contradicts itself, and how to fix it."""
        name, timm, decoded = self.name, self.of_timm, self.name not in _NATIVE
        if name not in DATASETS and timm is None:
            return (
                f"name={name!r} is unknown; use one of {', '.join(DATASETS)}, or {TIMM}NAME for "
                "what timm.data.create_dataset reads"
            )
        if name == EMBEDDED and self.root is not None:
            return f"root does not apply: {EMBEDDED} is part of the package; remove it"
        cached = (timm or "").lower().startswith("hfds/")  # in Hugging Face's own cache
        if name != EMBEDDED and self.root is None and not cached:
            return f"root is missing; {name} needs the folder of its images"
        if not decoded and self.size is not None:
            return f"size does not apply: images of {name} have a fixed size; remove it"
        if decoded and self.size is None:
            return "size is missing; give the side in pixels to store images at, such as 64"
        for key, default in (("train_split", "train"), ("val_split", "validation")):
            if timm is None and getattr(self, key) != default:
                return f"{key} does not apply: {name} has fixed splits; remove it"
        if isinstance(self.classes, tuple) and not 2 <= len(set(self.classes)) == len(self.classes):
            return f"classes={self.classes!r}: list two names or more, each once"
        if self.per_class is not None and self.fraction is not None:
            return "per_class and fraction both choose images; keep one of them"
        return None

    @property
    def of_timm(self) -> str | None:
        """The name for timm.data.create_dataset; None for other sources."""
        return self.name.removeprefix(TIMM) if self.name.startswith(TIMM) else None

    @property
    def native_resolution(self) -> int:
        """Side of the stored images in pixels; larger networks get interpolated images."""
        return _NATIVE.get(self.name) or self.size or 0

    @property
    def in_chans(self) -> int:
        """Image channels."""
        return 1 if self.name in (EMBEDDED, "fashion-mnist") else 3

    @property
    def num_classes(self) -> int | None:
        """Classes; None: as many as the source has."""
        if self.classes is None:
            return 10 if self.name in _NATIVE else None
        return self.classes if isinstance(self.classes, int) else len(self.classes)
