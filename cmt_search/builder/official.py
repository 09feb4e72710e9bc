"""The keys of official checkpoints.

Source: huawei-noah/Efficient-AI-Backbones, cmt_pytorch.
"""

import re
from collections.abc import Collection, Iterable, Mapping

from torch import Tensor

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
