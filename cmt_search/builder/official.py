"""Official checkpoints: their keys, and loading them strictly."""

import re
from collections.abc import Mapping

from torch import Tensor

from cmt_search.builder.model import CMT
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


def from_official(model: CMT, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An official state dict under our keys.

    Raises:
        ArchError: keys are missing or unexpected, or a shape is not the model's; it names them.
    """
    ours = {official_key(key): (key, value) for key, value in model.state_dict().items()}
    missing = [key for key in ours if key not in state_dict]
    unexpected = [key for key in state_dict if key not in ours]
    if missing or unexpected:
        lists = [_listed("misses", missing), _listed("does not expect", unexpected)]
        raise ArchError(
            f"official state dict: the model {' and '.join(filter(None, lists))}; "
            "build the Arch that the checkpoint is of (depths and kv_strides decide the keys)"
        )
    for name, (_, value) in ours.items():
        if state_dict[name].shape != value.shape:
            raise ArchError(
                f"official state dict: {name} has shape {tuple(state_dict[name].shape)}, the model "
                f"needs {tuple(value.shape)}; build the Arch that the checkpoint is of, load, and "
                "only then call set_input_size or reset_classifier"
            )
    return {key: state_dict[name] for name, (key, _) in ours.items()}


def load_official_state_dict(model: CMT, state_dict: Mapping[str, Tensor]) -> None:
    """Load a checkpoint of the official code, strictly.

    Source: huawei-noah/Efficient-AI-Backbones, cmt_pytorch.
    Raises: ArchError, as `from_official` says; the model is then unchanged.
    """
    model.load_state_dict(from_official(model, state_dict))


def _listed(verb: str, keys: list[str], *, most: int = 5) -> str:
    if not keys:
        return ""
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return f"{verb} {', '.join(keys[:most])}{more}"
