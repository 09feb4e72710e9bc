"""Which images a proxy learns from: plain values that a space file holds."""

from dataclasses import dataclass
from typing import Literal

from cmt_search.errors import DataError

EMBEDDED = "fashion-mnist-10k"
_NATIVE = {EMBEDDED: 28, "fashion-mnist": 28, "cifar10": 32}  # side in pixels
_CHANNELS = {EMBEDDED: 1, "fashion-mnist": 1}  # all others have three
_CLASSES = {EMBEDDED: 10, "fashion-mnist": 10, "cifar10": 10}
DATASETS = (*_NATIVE, "folder")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSpec:
    """Which images to learn from.

    `split` names the validation fold: "search" is the one that searches see, "sealed" is disjoint
    from it and is for final comparisons only.

    Raises:
        DataError: the name is unknown, or `root` or `size` is missing or has no use.
    """

    name: str = EMBEDDED
    root: str | None = None  # folder on this machine; the embedded set needs none
    size: int | None = None  # pixels; side at which the images of a "folder" are stored
    split: Literal["search", "sealed"] = "search"

    def __post_init__(self) -> None:
        where = "proxy.dataset"
        if self.name not in DATASETS:
            raise DataError(
                f"{where}.name={self.name!r} is unknown; use one of {', '.join(DATASETS)}"
            )
        if self.split not in ("search", "sealed"):
            raise DataError(f"{where}.split={self.split!r} is unknown; use search or sealed")
        if self.name == EMBEDDED and self.root is not None:
            raise DataError(
                f"{where}.root has no use: {EMBEDDED} is part of the package; remove it"
            )
        if self.name != EMBEDDED and self.root is None:
            raise DataError(f"{where}.root is missing; {self.name} needs the folder it lies in")
        if self.name != "folder" and self.size is not None:
            raise DataError(
                f"{where}.size has no use: {self.name} has a size of its own; remove it"
            )
        if self.name == "folder" and (not isinstance(self.size, int) or self.size < 1):
            raise DataError(
                f"{where}.size={self.size!r}: images of a folder are stored as squares; "
                "give their side in pixels, such as 64"
            )

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
        """Classes; None: as many as the folder has."""
        return _CLASSES.get(self.name)
