"""Read checkpoints, official ones included, and fit them to a model."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from timm.models import adapt_input_conv, clean_state_dict, load_state_dict
from torch import Tensor

from cmt_search.builder.network import CMT
from cmt_search.builder.position import (
    Grid,
    StageGrids,
    fitting_sizes,
    resize_table,
    square_size,
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
    """Return the official name of one of our state-dict keys."""
    for pattern, template in _RULES:
        if match := re.match(pattern, key):
            number, block = (*match.groups(), "", "")[:2]
            index = int(number or 0)
            name = template.format(s=chr(ord("a") + index), n=index + 1, b=block)
            return name + key[match.end() :]
    return key


def from_official(state_dict: Mapping[str, Tensor], *, ours: Collection[str]) -> dict[str, Tensor]:
    """Rename the keys of an official state dict; keys without a counterpart in `ours` stay."""
    # A stage's table is renamed even if every block of the model has a table of its own.
    tables = (f"{match[0]}position" for key in ours if (match := re.match(_STAGE, key)))
    names = {official_key(key): key for key in (*tables, *ours)}
    return {names.get(key, key): value for key, value in state_dict.items()}


def read_checkpoint(path: str | Path, *, use_ema: bool = True) -> dict[str, Tensor]:
    """Return the state dict in a file of torch.save or safetensors. No code in it is run.

    Raises: ArchError when the file cannot be read.
    """
    try:
        state: dict[str, Tensor] = load_state_dict(str(path), use_ema=use_ema, weights_only=True)
    except FileNotFoundError as error:
        raise ArchError(f"{path}: no such file; give the path of a checkpoint") from error
    except Exception as error:
        # The type depends on the file's bytes; only refused code is named.
        if code := re.search(r"GLOBAL (\S+)", str(error.__cause__)):
            raise ArchError(
                f"{path}: contains code ({code[1]}), which is never run; save the tensors alone: "
                "torch.save(model.state_dict(), ...)"
            ) from error
        raise ArchError(
            f"{path}: cannot be read; it is incomplete, or neither a checkpoint of torch.save nor "
            "a .safetensors file: fetch it again"
        ) from error
    return unwrap(state, use_ema=use_ema, where=str(path))


def unwrap(checkpoint: object, *, use_ema: bool, where: str) -> dict[str, Tensor]:
    """Return the state dict in a checkpoint, without the prefixes of module wrappers.

    Raises: ArchError when there is none.
    """
    ema = ("state_dict_ema", "model_ema") if use_ema else ()
    names = (*ema, "state_dict", "model")
    seen: set[int] = set()  # ids: a mapping may contain itself
    while isinstance(checkpoint, Mapping) and id(checkpoint) not in seen:
        seen.add(id(checkpoint))
        wrapped = (n for n in names if isinstance(checkpoint.get(n), Mapping) and checkpoint[n])
        if (name := next(wrapped, None)) is not None:
            checkpoint, where = checkpoint[name], f"{where}[{name!r}]"
    content = type(checkpoint).__name__
    if isinstance(checkpoint, Mapping):
        items = checkpoint.items()
        if items and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in items):
            # Twice, since older timm removes nested prefixes in one order only.
            return dict(clean_state_dict(clean_state_dict(checkpoint)))
        content = join_keys([str(key) for key in checkpoint]) or "nothing"
    raise ArchError(
        f"{where}: no state dict found, neither at the top nor under {', '.join(names)} (content: "
        f"{content}); give the state dict itself"
    )


def join_keys(keys: Sequence[str], *, limit: int = 5) -> str:
    """Join keys for a message, at most `limit` of them."""
    rest = f" and {len(keys) - limit} more" if len(keys) > limit else ""
    return ", ".join(keys[:limit]) + rest


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
    """Load weights and return the names of the tensors that were not loaded.

    `source` is a file of torch.save or safetensors, or its content: a state dict with our keys or
    the official ones, or a mapping that contains one; averaged weights first if `use_ema`. Position
    tables are resized, and a first convolution with another number of channels is adapted as by
    timm. Only the head of another number of classes is not loaded.

    Shape: `input_size` is the (height, width) of the checkpoint's images; needed only if its
    position tables fit several sizes, or none that is tried: the model's, its config's, a square.
    Raises: ArchError, and the model is unchanged: the file cannot be read or contains code; a key
    is missing or unexpected, including tables for a model without; a shape differs; the size of the
    images is ambiguous or unknown.
    """
    if isinstance(source, Mapping):
        where, weights = "checkpoint", unwrap(source, use_ema=use_ema, where="checkpoint")
    else:
        where, weights = str(source), read_checkpoint(source, use_ema=use_ema)
    sizes = [input_size] if input_size else [model.input_size, *_config_sizes(model)]
    state = _fit(weights, model, sizes=sizes, square=not input_size, where=where)
    target = model.state_dict()
    if state[_FIRST_CONV].shape != target[_FIRST_CONV].shape:
        base = state[_FIRST_CONV].shape[1]
        options = {} if base == 3 else {"base_chans": base}  # older timm has no other base
        state[_FIRST_CONV] = adapt_input_conv(model.in_chans, state[_FIRST_CONV], **options)
    missing: tuple[str, ...] = ()
    if _head_shapes(state) != _head_shapes(target):
        missing = tuple(key for key in _HEAD if key in target)
        body = {key: value for key, value in state.items() if key not in _HEAD}
        state = body | {key: target[key] for key in missing}
    model.load_state_dict(state)
    return missing


def checkpoint_filter(state_dict: Mapping[str, Any], model: CMT) -> dict[str, Tensor]:
    """Fit pretrained weights to `model` for timm, which adapts channels and classes itself.

    The config's image size is that of the weights where their tables fit it.
    Raises: ArchError, as `load_checkpoint`.
    """
    config = model.pretrained_cfg
    where = str(config.get("file") or config.get("url") or "checkpoint")
    weights = unwrap(state_dict, use_ema=True, where=where)
    tables = _tables_by_stage(weights)
    for size in _config_sizes(model):
        if tables and fitting_sizes(tables, model.arch, sizes=[size]):
            return _fit(weights, model, sizes=[size], square=False, where=where)
    return _fit(weights, model, sizes=[model.input_size], square=True, where=where)


def _fit(
    state_dict: Mapping[str, Tensor],
    model: CMT,
    *,
    sizes: Sequence[Grid],
    square: bool,
    where: str,
) -> dict[str, Tensor]:
    """Return a state dict with the model's keys and table sizes; classes and channels may differ.

    `sizes` are candidate sizes of the checkpoint's images, and a square if `square`.
    """
    target = model.state_dict()
    official = any(key.startswith(("stem_conv", "relative_pos_", "blocks_")) for key in state_dict)
    state = from_official(state_dict, ours=target) if official else dict(state_dict)
    _share_table_with_blocks(state, target)
    counts = {key: value for key, value in target.items() if key.endswith("num_batches_tracked")}
    state = {**counts, **state}  # absent from checkpoints of early PyTorch
    _check(state, target, where=where, name=official_key if official else str)
    if tables := _tables_by_stage(state):
        # The official code accepts square images only.
        candidates = [] if official and square else [*sizes]
        if square:
            candidates.append(square_size(model.arch, queries=tables[0].shape[1]))
        old = _grids_of(tables, model, sizes=candidates, where=where)
        new = stage_grids(model.arch, input_size=model.input_size)
        for key in state:
            if match := _TABLE.fullmatch(key):
                stage = int(match[2])
                state[key] = resize_table(state[key], old=old[stage], new=new[stage])
    return state


def _share_table_with_blocks(state: dict[str, Tensor], target: Mapping[str, Tensor]) -> None:
    """Copy a stage's table to each of its blocks, if the model has one table per block."""
    stage_keys = {key: match[1] + "position" for key in target if (match := _TABLE.fullmatch(key))}
    shared = {key: state.pop(key) for key in state.keys() & (set(stage_keys.values()) - {*target})}
    state |= {key: shared[stage] for key, stage in stage_keys.items() if stage in shared}


def _tables_by_stage(state: Mapping[str, Tensor]) -> dict[int, Tensor]:
    """Return a position table of every stage that has one."""
    matches = ((_TABLE.fullmatch(key), value) for key, value in state.items())
    return {int(match[2]): table for match, table in matches if match}


def _grids_of(
    tables: Mapping[int, Tensor], model: CMT, *, sizes: Sequence[Grid], where: str
) -> tuple[StageGrids, ...]:
    """Return the grids that the tables belong to, at the only one of these sizes that fits."""
    fitting = fitting_sizes(tables, model.arch, sizes=sizes)
    if len(fitting) == 1:
        return next(iter(fitting))
    shapes = ", ".join("x".join(map(str, table.shape[1:])) for table in tables.values())
    listed = [f"{height}x{width}" for height, width in fitting.values() or sizes]
    problem = (
        f"fit {' and '.join(listed)} pixels" if fitting else f"do not fit {' or '.join(listed)}"
    )
    raise ArchError(
        f"{where}: position tables (queries x keys: {shapes}) {problem}; pass "
        "input_size=(height, width) of the images that it was trained on, or to timm "
        "pretrained_cfg_overlay=dict(input_size=(channels, height, width))"
    )


def _check(
    state: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
    *,
    where: str,
    name: Callable[[str], str],
) -> None:
    """Check keys and shapes, and name those that are wrong as the checkpoint does."""
    headless = not any(key in state for key in _HEAD) or _HEAD[0] not in target
    optional = _HEAD if headless else ()
    missing = [name(key) for key in target if key not in state and key not in optional]
    unexpected = [name(key) for key in state if key not in target and key not in optional]
    if missing or unexpected:
        lists = {"missing": missing, "unexpected": unexpected}
        text = "; ".join(f"{kind}: {join_keys(keys)}" for kind, keys in lists.items() if keys)
        raise ArchError(
            f"{where}: its keys are not those of the model ({text}); build the Arch of the "
            "checkpoint (depths, kv_strides and position decide the keys), and load before "
            "reparameterize_model or features_only remove any part"
        )
    for key in (key for key in target if key in state):
        if _fixed_shape(key, state[key]) != _fixed_shape(key, target[key]):
            raise ArchError(
                f"{where}: {name(key)} has shape {tuple(state[key].shape)}, the model needs "
                f"{tuple(target[key].shape)}; build the Arch of the checkpoint"
            )


def _fixed_shape(key: str, tensor: Tensor) -> tuple[int, ...]:
    """Return the part of a shape that depends on no image size, channels or classes."""
    shape = tuple(tensor.shape)
    if key in _HEAD:
        return shape[1:]
    if key == _FIRST_CONV:
        return shape[:1] + shape[2:]
    return (*shape[:1], len(shape)) if _TABLE.fullmatch(key) else shape


def _head_shapes(state: Mapping[str, Tensor]) -> list[torch.Size]:
    return [state[key].shape for key in _HEAD if key in state]


def _config_sizes(model: CMT) -> list[Grid]:
    """Return the (height, width) in timm's config of the model, if it has one."""
    size = model.pretrained_cfg.get("input_size")
    return [(size[1], size[2])] if size else []
