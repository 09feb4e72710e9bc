"""Checkpoint files, read without running code from them, and the state dicts inside."""

import re
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from cmt_search.errors import ArchError

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
