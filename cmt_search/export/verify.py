"""Round-trip verification: a written file must build the exported network."""

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cmt_search.cost import cost
from cmt_search.errors import ExportError
from cmt_search.export.source import Source
from cmt_search.export.variant import Variant

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

TOLERANCE = 1e-4  # of logits, relative to the largest of them


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rebuilt:
    """A network, built again from its file alone."""

    logits: "Callable[[Tensor], Tensor]"
    module: "nn.Module | None" = None  # None: the format runs elsewhere and has no parameters


def rebuilt_module(module: "nn.Module") -> Rebuilt:
    """A network of torch, in evaluation mode."""
    return Rebuilt(module=module.eval(), logits=module)


def check_rebuilt(rebuilt: Rebuilt, *, read: Variant, source: Source, what: str) -> None:
    """Compare key, params, MACs and logits with those of the network that was exported.

    Raises:
        ExportError: one differs; nothing has been published yet.
    """
    wanted, whole = source.variant, cost(source.variant.arch)
    pairs: dict[str, tuple[object, object]] = {
        "key": (read.arch.key, wanted.arch.key),
        "fields": (read.to_dict(), wanted.to_dict()),
    }
    if rebuilt.module is not None:
        params = sum(p.numel() for p in rebuilt.module.parameters())
        pairs["params"] = (params, whole.params)
        pairs["macs"] = (counted_macs(rebuilt.module, source.images[:1]), whole.macs)
    for name, (given, meant) in pairs.items():
        if given != meant:
            raise _differs(what, f"{name} {given} instead of {meant}")
    _check_logits(rebuilt, source=source, what=what)


def counted_macs(module: "nn.Module", image: "Tensor") -> int:
    """Multiply-accumulates of one image, as torch counts them; on its meta device, so for free."""
    from torch.utils.flop_counter import FlopCounterMode

    copy = deepcopy(module).to("meta")
    with FlopCounterMode(display=False) as counter:
        copy(image.to("meta"))
    return int(counter.get_total_flops()) // 2


def _check_logits(rebuilt: Rebuilt, *, source: Source, what: str) -> None:
    import torch

    with torch.no_grad():
        given = rebuilt.logits(source.images)
    largest = float(source.logits.abs().max())
    apart = float((given - source.logits).abs().max())
    if not apart <= TOLERANCE * max(largest, TOLERANCE):  # also refuses NaN
        raise _differs(what, f"logits {apart:.2g} apart, of at most {largest:.2g}")


def _differs(what: str, how: str) -> ExportError:
    return ExportError(
        f"{what}: the written file gives another network ({how}) and was not kept; "
        "this is a bug: please report it with the variant's YAML"
    )
