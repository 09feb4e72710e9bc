"""Weights to export: those of `cmt-search train`, or of a repeated proxy training."""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmt_search.arch import Arch
from cmt_search.errors import ExportError, RunError
from cmt_search.evaluation import Fidelity, Measurement, TrainingFailed
from cmt_search.export.reader import load_variant
from cmt_search.export.source import Source, Weights
from cmt_search.export.variant import Variant
from cmt_search.export.weights import load_weights
from cmt_search.export.yaml_io import read_mapping

if TYPE_CHECKING:
    from cmt_search.proxy import Dataset
    from cmt_search.proxy.trainer import Training
    from cmt_search.search.types import TrialRecord
    from cmt_search.space import SearchSpace


def kept_weights(variant: Variant, *, folder: Path) -> Source:
    """Load the weights of a folder of `cmt-search train` into the variant.

    Channels and classes become those of the training.

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
            origin=f"Trained by `cmt-search train` ({_summary(measured, dataset=dataset)}).",
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
    """Repeat the proxy training of the variant.

    A network that the search measured is trained with the same seed and length: on one CPU thread
    the numbers are the same, bit for bit. Any other is trained at the length of the search's
    longest trainings, with the space's seed. Channels and classes become those of the images.

    Raises:
        ExportError: the search has not measured anything yet.
        RunError: the training failed.
        DataError: the images cannot be read, or the device is unknown.
    """
    from cmt_search.proxy import load_dataset
    from cmt_search.proxy.evaluator import resolve_device

    data = load_dataset(space.proxy.dataset)
    adapted = _adapted(variant, in_chans=data.in_chans, num_classes=data.num_classes)
    fidelity, earlier = _longest_fidelity(adapted.arch, records=records)
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
        state=_resize_tables(kept[0], arch=adapted.arch),
        origin=(
            f"Trained from scratch as the search trains ({_summary(measured, dataset=name)}). "
            + _comparison(measured, earlier)
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


def _longest_fidelity(
    arch: Arch, *, records: "Iterable[TrialRecord]"
) -> tuple[Fidelity, Measurement | None]:
    """Return the longest fidelity of this network and its measurement, or that of any network."""
    rungs = [rung for record in records for rung in record.rungs if rung.measurements]
    if not rungs:
        raise ExportError(
            "the search has not measured anything yet, so nothing can be trained again"
        )
    matching = [rung for rung in rungs if rung.rung.arch.key == arch.key]
    longest = max(matching or rungs, key=lambda r: _length(r.rung.fidelity))
    return longest.rung.fidelity, longest.measurements[0] if matching else None


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
    """Train as `ProxyEvaluator` does, on one CPU thread, and keep the network."""
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


def _resize_tables(training: "Training", *, arch: Arch) -> dict[str, Any]:
    """Return the weights, with position tables resized to the resolution of `arch`."""
    from cmt_search.builder import CMT, load_checkpoint

    state = {k: v.detach().cpu().contiguous() for k, v in training.measured.state_dict().items()}
    model = CMT(arch)
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


def _summary(measured: Measurement, *, dataset: str) -> str:
    return (
        f"epochs: {len(measured.curve)} on {dataset}, seed {measured.seed}, {measured.device}: "
        f"top1 {measured.top1:.2%} of {measured.images:,} validation images"
    )


def _comparison(measured: Measurement, earlier: Measurement | None) -> str:
    if earlier is None:
        return "The search did not measure this network."
    if (measured.top1, measured.loss) == (earlier.top1, earlier.loss):
        return "Top1 and loss are exactly those that the search measured."
    return (
        f"The search measured top1 {earlier.top1:.2%} on {earlier.device}: not the same numbers, "
        "so these are not the weights of that training."
    )
