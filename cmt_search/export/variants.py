"""Networks under names, which are exported and shown together."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from cmt_search.errors import ExportError, suggestion
from cmt_search.export.formats import export, format_named
from cmt_search.export.source import Source
from cmt_search.export.variant import Variant

if TYPE_CHECKING:
    import pandas as pd


class Variants(Sequence[Variant]):
    """Variants in order, by index or by name; of "best-8M", "8M" is a name, too."""

    def __init__(self, variants: Iterable[Variant]) -> None:
        self._variants = tuple(variants)

    def __len__(self) -> int:
        return len(self._variants)

    def __iter__(self) -> Iterator[Variant]:
        return iter(self._variants)

    @overload
    def __getitem__(self, name: str | int) -> Variant: ...
    @overload
    def __getitem__(self, name: slice) -> "Variants": ...
    def __getitem__(self, name: str | int | slice) -> "Variant | Variants":
        """Return a variant; a slice gives `Variants`.

        Raises:
            KeyError: no variant has this name.
            IndexError: there are fewer variants.
        """
        if isinstance(name, slice):
            return Variants(self._variants[name])
        if isinstance(name, int):
            return self._variants[name]
        for variant in self._variants:
            if variant.name == name or variant.name.endswith(f"-{name}"):
                return variant
        raise KeyError(f"{name!r} is unknown; {suggestion(name, self.names)}")

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in order."""
        return tuple(variant.name for variant in self._variants)

    def export(
        self,
        folder: Path | str,
        *,
        formats: Sequence[str] = ("yaml", "timm"),
        force: bool = False,
    ) -> dict[str, dict[str, Path]]:
        """Write every variant without trained weights; return the paths by name and format.

        Each file is built again and compared before it takes its place. `force` overwrites files
        that differ.

        Raises:
            ExportError: a format is unknown; a file differs and `force` is not set.
        """
        if isinstance(formats, str):
            raise ExportError(f"formats={formats!r} is text; write [{formats!r}]")
        for name in formats:
            format_named(name)
        return {
            variant.name: {
                name: export(Source(variant=variant), format=name, folder=folder, force=force)
                for name in formats
            }
            for variant in self._variants
        }

    def to_frame(self) -> "pd.DataFrame":
        """One row per variant: name, sizes, costs, trial and metrics.

        Units: macs in multiply-accumulates, top1 in 0..1, resolution in pixels.
        """
        import pandas as pd

        return pd.DataFrame([_row(variant) for variant in self._variants])

    def __repr__(self) -> str:
        return f"Variants({', '.join(self.names)})"

    def _repr_html_(self) -> str:
        text: str = self.to_frame().to_html(index=False, na_rep="")
        return text


def _row(variant: Variant) -> dict[str, Any]:
    from cmt_search.cost import cost

    arch, costs = variant.arch, cost(variant.arch)
    row = {
        "name": variant.name,
        "macs": costs.macs,
        "params": costs.params,
        "resolution": arch.resolution,
        "widths": "-".join(str(stage.width) for stage in arch.stages),
        "depths": "-".join(str(stage.depth) for stage in arch.stages),
    }
    if variant.trial is not None:
        row["trial"] = variant.trial
    if (factor := variant.provenance.get("extrapolation")) is not None:
        row["extrapolation"] = factor
    return {**row, **{k: v for k, v in variant.metrics.items() if k not in row}}
