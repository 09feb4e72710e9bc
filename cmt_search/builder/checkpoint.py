"""Read checkpoints, official ones included, and fit them to a model."""

import re
from argparse import Namespace
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from timm.models import adapt_input_conv
from torch import Tensor

from cmt_search.builder.cmt import CMT
from cmt_search.builder.position import (
    Grid,
    grids_of_tables,
    resize_table,
    square_input_size,
    stage_grids,
)
from cmt_search.errors import ArchError

_STAGE = r"^stages\.(\d+)\."
_BLOCK = _STAGE + r"blocks\.(\d+)\."

# Ours on the left. `{s}` becomes the official letter of the stage, `{n}` a number from 1.
_RULES = (
    (r"^stem\.(\d+)\.conv\.", "stem_conv{n}."),
    (r"^stem\.(\d+)\.norm\.", "stem_norm{n}."),
    (_STAGE + r"position$", "relative_pos_{s}"),
    (_STAGE + r"patch_embed\.", "patch_embed_{s}."),
    (_BLOCK + r"lpu\.conv\.", "blocks_{s}.{b}.proj."),
    (_BLOCK + r"attn\.reduce\.conv\.", "blocks_{s}.{b}.attn.sr.0."),
    (_BLOCK + r"attn\.reduce\.norm\.", "blocks_{s}.{b}.attn.sr.1."),
    (_BLOCK + r"irffn\.expand\.conv\.", "blocks_{s}.{b}.mlp.conv1.0."),
    (_BLOCK + r"irffn\.expand\.norm\.", "blocks_{s}.{b}.mlp.conv1.2."),
    (_BLOCK + r"irffn\.local\.", "blocks_{s}.{b}.mlp.proj."),
    (_BLOCK + r"irffn\.local_norm\.", "blocks_{s}.{b}.mlp.proj_bn."),
    (_BLOCK + r"irffn\.project\.", "blocks_{s}.{b}.mlp.conv2.0."),
    (_BLOCK + r"irffn\.project_norm\.", "blocks_{s}.{b}.mlp.conv2.1."),
    (_BLOCK, "blocks_{s}.{b}."),
    (r"^neck\.conv\.", "_fc."),
    (r"^neck\.norm\.", "_bn."),
)


def official_key(key: str) -> str:
    """The official name of one of our state-dict keys."""
    for pattern, template in _RULES:
        if match := re.match(pattern, key):
            number, block = (*match.groups(), "", "")[:2]
            index = int(number or 0)
            name = template.format(s=chr(ord("a") + index), n=index + 1, b=block)
            return name + key[match.end() :]
    return key


def is_official(keys: Iterable[str]) -> bool:
    """Whether a state dict has the official code's keys."""
    return any(key.startswith(("stem_conv", "relative_pos_", "blocks_")) for key in keys)


def from_official(state_dict: Mapping[str, Tensor], *, ours: Collection[str]) -> dict[str, Tensor]:
    """An official state dict under our keys; what has no counterpart in `ours` keeps its name."""
    # The official table of a stage has a name of ours even where every block has its own.
    tables = (f"{match[0]}position" for key in ours if (match := re.match(_STAGE, key)))
    names = {official_key(key): key for key in (*tables, *ours)}
    return {names.get(key, key): value for key, value in state_dict.items()}


_EMA = ("state_dict_ema", "model_ema", "ema")
_PLAIN = ("state_dict", "model")
_PREFIXES = re.compile(r"^(module\.|_orig_mod\.)+")  # of DDP and of torch.compile


def read_checkpoint(path: str | Path) -> Any:
    """What a file of torch.save, or a .safetensors file, holds; no code in it is run.

    Raises: ArchError when it cannot be read so.
    """
    try:
        if Path(path).suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        # Training scripts keep their arguments in a Namespace: plain data.
        with torch.serialization.safe_globals([Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise ArchError(
            f"{path}: cannot be opened ({error}); give the path of a checkpoint"
        ) from error
    except Exception as error:
        # A broken file raises whatever its bytes lead to; only refused code has a name.
        if code := re.search(r"GLOBAL (\S+)", str(error)):
            raise ArchError(
                f"{path}: needs code to be read ({code[1]}), which is never run; where it was "
                "made, save the tensors alone: torch.save(model.state_dict(), ...)"
            ) from error
        raise ArchError(
            f"{path}: cannot be read; it is cut short, or neither a checkpoint of torch.save nor "
            "a .safetensors file: fetch it again"
        ) from error


def unwrap(checkpoint: object, *, use_ema: bool, where: str) -> dict[str, Tensor]:
    """The state dict in a checkpoint, without the prefixes that wrappers of modules leave.

    Raises: ArchError when there is none.
    """
    names = (*_EMA, *_PLAIN) if use_ema else _PLAIN
    held = type(checkpoint).__name__
    if isinstance(checkpoint, Mapping):
        for name in names:
            if isinstance(checkpoint.get(name), Mapping) and checkpoint[name]:
                return unwrap(checkpoint[name], use_ema=use_ema, where=f"{where}[{name!r}]")
        if checkpoint and all(isinstance(value, Tensor) for value in checkpoint.values()):
            return {_PREFIXES.sub("", str(key)): checkpoint[key] for key in checkpoint}
        held = listed([str(key) for key in checkpoint]) or "nothing"
    raise ArchError(
        f"{where}: is no state dict and holds none under {', '.join(names)} (it holds: {held}); "
        "give the state dict itself"
    )


def listed(keys: Sequence[str], *, most: int = 5) -> str:
    """A list of keys for a message, cut where it is long."""
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + more


_TABLE = re.compile(r"(stages\.(\d+)\.)(?:blocks\.\d+\.)?position")
_HEAD = ("head.weight", "head.bias")
_FIRST_CONV = "stem.0.conv.weight"


def load_checkpoint(
    model: CMT,
    source: str | Path | Mapping[str, Any],
    *,
    use_ema: bool = True,
    input_size: Grid | None = None,
) -> tuple[str, ...]:
    """Load weights and return the names of the tensors that they did not fill.

    `source` is a file of torch.save or safetensors, or what such a file holds: a state dict with
    our keys or the official ones, or a mapping with one inside, averaged weights first if
    `use_ema`. Position tables are resized, a first convolution with another number of channels is
    adapted as timm does it. Only the head of another number of classes is not filled.

    Shape: `input_size` is the (height, width) of the checkpoint's images; it is needed only where
    its position tables do not show it.
    Raises: ArchError, and the model is unchanged: the file cannot be read or needs code to be; a
    key is missing or unexpected, also a position table for a model without any; a shape differs.
    """
    where, checkpoint = "checkpoint", source
    if not isinstance(source, Mapping):
        where, checkpoint = str(source), read_checkpoint(source)
    state = _fitted(
        unwrap(checkpoint, use_ema=use_ema, where=where),
        model,
        input_size=input_size,
        likely=(model.input_size, *_size_in_config(model)),
        where=where,
    )
    own = model.state_dict()
    if state[_FIRST_CONV].shape != own[_FIRST_CONV].shape:
        state[_FIRST_CONV] = _with_channels(state[_FIRST_CONV], model.in_chans)
    fresh: tuple[str, ...] = ()
    if _classes(state) != _classes(own):
        fresh = tuple(key for key in _HEAD if key in own)
        body = {key: value for key, value in state.items() if key not in _HEAD}
        state = body | {key: own[key] for key in fresh}
    model.load_state_dict(state)
    return fresh


def checkpoint_filter(state_dict: Mapping[str, Any], model: CMT) -> dict[str, Tensor]:
    """What timm loads into `model` of pretrained weights; channels and classes it fits itself.

    Raises: ArchError, as `load_checkpoint`.
    """
    config = model.pretrained_cfg
    where = str(config.get("file") or config.get("url") or "checkpoint")
    return _fitted(
        unwrap(state_dict, use_ema=True, where=where),
        model,
        likely=(*_size_in_config(model), model.input_size),
        where=where,
    )


def _fitted(
    state_dict: Mapping[str, Tensor],
    model: CMT,
    *,
    likely: Sequence[Grid],
    where: str,
    input_size: Grid | None = None,
) -> dict[str, Tensor]:
    """A state dict under the model's keys with tables of its size; classes and channels may differ.

    `likely` are image sizes to try where `input_size` is not given.
    """
    own = model.state_dict()
    official = is_official(state_dict)
    state = from_official(state_dict, ours=own) if official else dict(state_dict)
    _give_to_blocks(state, own)
    counts = {key: value for key, value in own.items() if key.endswith("num_batches_tracked")}
    state = {**counts, **state}  # torch did without them once
    _check(state, own, where=where, official=official)
    # The official code takes square images only, so that other sizes cannot be meant.
    _resize_tables(
        state, model, likely=() if official else likely, where=where, input_size=input_size
    )
    return state


def _give_to_blocks(state: dict[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Give a stage's table to each of its blocks, where the model has one table per block."""
    tables = {key: match[1] + "position" for key in own if (match := _TABLE.fullmatch(key))}
    given = {whole: state.pop(whole) for whole in state.keys() & set(tables.values())}
    state |= {key: given[whole] for key, whole in tables.items() if whole in given}


def _resize_tables(
    state: dict[str, Tensor],
    model: CMT,
    *,
    likely: Sequence[Grid],
    where: str,
    input_size: Grid | None,
) -> None:
    stages = {key: int(match[2]) for key in state if (match := _TABLE.fullmatch(key))}
    if not stages:
        return
    tables = [(stage, state[key]) for key, stage in stages.items()]
    square = square_input_size(model.arch, queries=dict(tables)[0].shape[1])
    sizes = [input_size] if input_size else [*likely, square]
    old = grids_of_tables(tables, model.arch, input_sizes=sizes)
    if old is None:
        found = ", ".join("x".join(map(str, table.shape[1:])) for table in dict(tables).values())
        image = f"image of {input_size[0]}x{input_size[1]} pixels" if input_size else "square image"
        raise ArchError(
            f"{where}: its position tables (queries x keys: {found}) are those of no {image}; "
            "pass input_size=(height, width) of the images that it was trained on, or to timm "
            "pretrained_cfg_overlay=dict(input_size=(channels, height, width))"
        )
    new = stage_grids(model.arch, input_size=model.input_size)
    for key, stage in stages.items():
        state[key] = resize_table(state[key], old=old[stage], new=new[stage])


def _check(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor], *, where: str, official: bool
) -> None:
    def named(key: str) -> str:
        return official_key(key) if official else key

    headless = not any(key in state for key in _HEAD) or _HEAD[0] not in own
    apart = _HEAD if headless else ()
    missing = [named(key) for key in own if key not in state and key not in apart]
    unexpected = [named(key) for key in state if key not in own and key not in apart]
    if missing or unexpected:
        lists = {"misses": missing, "does not expect": unexpected}
        told = " and ".join(f"{verb} {listed(keys)}" for verb, keys in lists.items() if keys)
        raise ArchError(
            f"{where}: the model {told}; build the Arch that the checkpoint is of (depths, "
            "kv_strides and position decide the keys), and load before reparameterize_model or "
            "features_only drop any part"
        )
    for key in (key for key in own if key in state):
        if _kept(key, state[key]) != _kept(key, own[key]):
            raise ArchError(
                f"{where}: {named(key)} has shape {tuple(state[key].shape)}, the model needs "
                f"{tuple(own[key].shape)}; build the Arch that the checkpoint is of"
            )


def _kept(key: str, tensor: Tensor) -> tuple[int, ...]:
    """The part of a shape that no image size, channels or classes change."""
    shape = tuple(tensor.shape)
    if key in _HEAD:
        return shape[1:]
    if key == _FIRST_CONV:
        return shape[:1] + shape[2:]
    return (*shape[:1], len(shape)) if _TABLE.fullmatch(key) else shape


def _with_channels(weight: Tensor, channels: int) -> Tensor:
    base = weight.shape[1]
    options = {} if base == 3 else {"base_chans": base}  # older timm knows no other base
    adapted: Tensor = adapt_input_conv(channels, weight, **options)
    return adapted


def _classes(state: Mapping[str, Tensor]) -> list[int]:
    return [state[key].shape[0] for key in _HEAD if key in state]


def _size_in_config(model: CMT) -> tuple[Grid, ...]:
    """The (height, width) of the images that timm's config of the model names, if it has one."""
    size = model.pretrained_cfg.get("input_size")
    return ((size[1], size[2]),) if size else ()
