"""Which classes and images of a source are used: stratified, seeded, and nested."""

import numpy as np
import torch

from cmt_search.dataset_spec import DatasetSpec
from cmt_search.errors import DataError
from cmt_search.proxy.labelled import Labelled


def chosen_classes(spec: DatasetSpec, *, names: tuple[str, ...]) -> tuple[str, ...]:
    """The classes in use, in the source's order.

    Raises:
        DataError: there are no such classes, or fewer.
    """
    if spec.classes is None:
        return names
    if isinstance(spec.classes, int):
        if spec.classes > len(names):
            raise DataError(
                f"proxy.dataset.classes={spec.classes}, but {spec.name} has {len(names)}; "
                "use fewer, or leave the key out"
            )
        order = np.random.RandomState(spec.subset_seed).permutation(len(names))
        return tuple(names[i] for i in sorted(order[: spec.classes]))
    unknown = [name for name in spec.classes if name not in names]
    if unknown:
        raise DataError(
            f"proxy.dataset.classes: {spec.name} has no class {unknown[0]!r}; "
            f"it has {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}"
        )
    return tuple(name for name in names if name in spec.classes)


def of_classes(part: Labelled, *, chosen: tuple[str, ...], names: tuple[str, ...]) -> Labelled:
    """The images of some classes, numbered anew."""
    if chosen == names:
        return part
    new = torch.full((len(names),), -1)
    new[torch.tensor([names.index(name) for name in chosen])] = torch.arange(len(chosen))
    labels = new[part.labels]
    return part.relabelled(labels).keep(labels >= 0)


def thinned(part: Labelled, spec: DatasetSpec) -> Labelled:
    """As many images of each class as the spec asks for; every class keeps at least one.

    Raises:
        DataError: a class has fewer images than asked for.
    """
    if spec.fraction is not None and spec.fraction < 1:
        return part.keep(part.ranks(seed=spec.subset_seed) < spec.fraction)
    if spec.per_class is not None:
        places, counts = part.places(seed=spec.subset_seed)
        if int(counts.min()) < spec.per_class:
            raise DataError(
                f"proxy.dataset.per_class={spec.per_class}, but a class of {spec.name} has "
                f"{int(counts.min())} training images; use at most that many"
            )
        return part.keep(places < spec.per_class)
    return part
