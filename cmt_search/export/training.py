"""Weights to export: of a network that `train` kept, or trained once more as the search did."""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmt_search.arch import Arch
from cmt_search.errors import ExportError, RunError
from cmt_search.evaluation import Fidelity, Measurement, TrainingFailed
from cmt_search.export.reading import load_variant
from cmt_search.export.source import Source, Weights
from cmt_search.export.text import read_mapping
from cmt_search.export.variant import Variant
from cmt_search.export.weights import load_weights

if TYPE_CHECKING:
    from cmt_search.proxy import Dataset
    from cmt_search.proxy.trainer import Training
    from cmt_search.search.types import TrialRecord
    from cmt_search.space import SearchSpace


def kept_weights(variant: Variant, *, folder: Path) -> Source:
    """The variant with the weights of a folder of `cmt-search train`.

    Channels and classes become those that it was trained with.

    Raises:
        ExportError: the training is of another network or not at its end, or a field is missing.
    """
    trained, data = load_variant(folder).arch, read_mapping(folder / "train.json")
    adapted = _adapted(variant, in_chans=trained.in_chans, num_classes=trained.num_classes)
    if adapted.arch.key != trained.key:
        raise ExportError(
            f"{folder}: plan.arch is network {trained.key}, and {variant.name} is "
            f"{adapted.arch.key}; give the folder of its training"
        )
    if data.get("state") != "complete":
        raise ExportError(
            f"{folder}: state={data.get('state')!r}: the training is not at its end; give its "
            "`cmt-search train` command again"
        )
    try:
        measured = Measurement.from_dict(data["measurement"])
        plan, images = data["plan"], data["normalisation"]
        dataset = str(plan["dataset"]["name"])
        weights = Weights(
            state=load_weights(folder),
            origin=f"Trained by `cmt-search train` ({_told(measured, dataset=dataset)}).",
            mean=tuple(images["mean"]),
            std=tuple(images["std"]),
            classes=tuple(data["classes"]),
            training=_training(measured, dataset=dataset),
        )
    except (KeyError, TypeError) as error:
        raise ExportError(
            f"{folder / 'train.json'}: {error} is missing or of another kind; train again"
        ) from None
    return Source(variant=adapted, weights=weights)


def retrain(
    variant: Variant,
    *,
    space: "SearchSpace",
    records: "Iterable[TrialRecord]",
    device: str | None = None,
    on_epoch: "Callable[[Training], None] | None" = None,
) -> Source:
    """The variant, trained once more as the search trained its networks.

    A network that the search measured is trained with the seed and for the length that it was
    measured with: on one CPU thread that gives the same numbers, bit for bit. Any other is trained
    as the search's longest trainings, with the space's seed. Channels and classes become those of
    the images.

    Raises:
        ExportError: the search has measured nothing yet.
        RunError: the training failed.
        DataError: the images cannot be read, or there is no such device.
    """
    from cmt_search.proxy import load_dataset
    from cmt_search.proxy.evaluator import resolve_device

    data = load_dataset(space.proxy.dataset)
    adapted = _adapted(variant, in_chans=data.in_chans, num_classes=data.num_classes)
    fidelity, earlier = _as_measured(adapted.arch, records=records)
    seed = space.seed if earlier is None else earlier.seed
    kept: list[Training] = []
    try:
        measured = _train(
            adapted.arch,
            data=data,
            space=space,
            fidelity=fidelity,
            seed=seed,
            device=resolve_device(device),
            on_epoch=on_epoch,
            on_end=kept.append,
        )
    except TrainingFailed as error:
        raise RunError(f"{variant.name}: the training failed: {error}") from error
    name = space.proxy.dataset.name
    weights = Weights(
        state=_at_full_size(kept[0], arch=adapted.arch),
        origin=(
            f"Trained from scratch as the search trains ({_told(measured, dataset=name)}). "
            + _against(measured, earlier)
        ),
        mean=tuple((data.mean / 255).tolist()),
        std=tuple((data.std / 255).tolist()),
        classes=tuple(data.classes),
        training={
            **_training(measured, dataset=name),
            "data_fraction": fidelity.data_fraction,
            "measured_top1": None if earlier is None else earlier.top1,
        },
    )
    return Source(variant=adapted, weights=weights)


def _adapted(variant: Variant, *, in_chans: int, num_classes: int) -> Variant:
    return replace(variant, arch=replace(variant.arch, in_chans=in_chans, num_classes=num_classes))


def _as_measured(
    arch: Arch, *, records: "Iterable[TrialRecord]"
) -> tuple[Fidelity, Measurement | None]:
    """How long the search trained this network at most and what it found, or any at most."""
    rungs = [rung for record in records for rung in record.rungs if rung.measurements]
    if not rungs:
        raise ExportError("the search has measured nothing yet, so there is no training to repeat")
    own = [rung for rung in rungs if rung.rung.arch.key == arch.key]
    longest = max(own or rungs, key=lambda r: _length(r.rung.fidelity))
    return longest.rung.fidelity, longest.measurements[0] if own else None


def _length(fidelity: Fidelity) -> tuple[float, float]:
    return fidelity.epochs * fidelity.data_fraction, fidelity.image_size or math.inf


def _train(
    arch: Arch,
    *,
    data: "Dataset",
    space: "SearchSpace",
    fidelity: Fidelity,
    seed: int,
    device: Any,
    on_epoch: Any,
    on_end: Any,
) -> Measurement:
    """As `ProxyEvaluator` does it, on one thread where it is a CPU, but keeping the network."""
    import torch

    from cmt_search.proxy import train

    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        return train(
            arch,
            data=data,
            recipe=space.proxy.recipe,
            fidelity=fidelity,
            seed=seed,
            device=device,
            on_epoch=on_epoch,
            on_end=on_end,
        )
    finally:
        torch.set_num_threads(threads)


def _at_full_size(training: "Training", *, arch: Arch) -> dict[str, Any]:
    """The weights; tables are resized where the training saw smaller images than `arch` is for."""
    from cmt_search.builder import build, load_checkpoint

    state = {k: v.detach().cpu().contiguous() for k, v in training.measured.state_dict().items()}
    model = build(arch)
    load_checkpoint(model, state)
    return dict(model.state_dict())


def _training(measured: Measurement, *, dataset: str) -> dict[str, Any]:
    return {
        "dataset": dataset,
        "top1": measured.top1,
        "loss": measured.loss,
        "images": measured.images,
        "epochs": len(measured.curve),
        "seed": measured.seed,
        "device": measured.device,
    }


def _told(measured: Measurement, *, dataset: str) -> str:
    return (
        f"epochs: {len(measured.curve)} on {dataset}, seed {measured.seed}, {measured.device}: "
        f"top1 {measured.top1:.2%} of {measured.images:,} validation images"
    )


def _against(measured: Measurement, earlier: Measurement | None) -> str:
    if earlier is None:
        return "The search did not measure this network."
    if (measured.top1, measured.loss) == (earlier.top1, earlier.loss):
        return "Top1 and loss are exactly those that the search measured."
    return (
        f"The search measured top1 {earlier.top1:.2%} on {earlier.device}: not the same numbers, "
        "so these are not the weights of that training."
    )
