"""What the options of export mean: formats, weights, and what cannot go together."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cmt_search.cli.completing import ALL
from cmt_search.errors import ExportError, suggestion

if TYPE_CHECKING:
    from cmt_search.export import Source

RETRAIN, NONE = "retrain", "none"


def wanted_formats(text: str | None) -> tuple[str, ...]:
    """The formats of variants.

    Raises:
        ExportError: one is unknown, or is a study's.
    """
    from cmt_search.export import FORMATS, STUDY_FORMATS

    if text is None:
        return ("timm", "yaml")
    names = tuple(FORMATS) if text == ALL else _parts(text)
    for name in names:
        if name in STUDY_FORMATS:
            raise ExportError(f"--format {name!r} is of a study; add --study DIR")
        if name not in FORMATS:
            raise ExportError(f"--format {name!r} is unknown; {suggestion(name, (*FORMATS, ALL))}")
    return names


def study_formats(text: str | None) -> tuple[str, ...]:
    """The formats of a study.

    Raises:
        ExportError: one is none.
    """
    from cmt_search.export import STUDY_FORMATS

    names = tuple(STUDY_FORMATS) if text in (None, ALL) else _parts(text or "")
    for name in names:
        if name not in STUDY_FORMATS:
            known = suggestion(name, (*STUDY_FORMATS, ALL))
            raise ExportError(f"--format {name!r} is no format of a study; {known}")
    return names


def check_alone(options: Mapping[str, object]) -> None:
    """Refuse what is of networks beside --study.

    Raises:
        ExportError: an option is given.
    """
    if given := [name for name, value in options.items() if value is not None]:
        raise ExportError(
            f"--study writes the study alone, and {', '.join(given)} is of networks; export them "
            "by a second command, without --study"
        )


def keeps_weights(wanted: Sequence[str]) -> bool:
    """Whether anything that is written would hold weights."""
    from cmt_search.export import FORMATS

    return any(FORMATS[name].keeps_weights for name in wanted)


def check_weights(weights: str | None, *, wanted: Sequence[str]) -> None:
    """Refuse weights that are not there, or that nothing would keep, before hours go into them.

    Raises:
        ExportError: as said.
    """
    from cmt_search.export import FORMATS

    if weights is None or weights == NONE:
        return
    if not keeps_weights(wanted):
        keep = ", ".join(name for name, how in FORMATS.items() if how.keeps_weights)
        raise ExportError(f"--weights: {', '.join(wanted)} keeps none; add one of {keep}")
    if weights != RETRAIN and not Path(weights).exists():
        known = suggestion(weights, (RETRAIN, NONE))
        raise ExportError(
            f"--weights {weights!r} is no file or folder; {known}, or a folder of "
            "`cmt-search train`, or an export that holds weights"
        )


def check_not_lost(sources: "Sequence[Source]", wanted: Sequence[str], *, folder: Path) -> None:
    """Refuse to put untrained networks where trained weights lie, which --force would do.

    Raises:
        ExportError: the weights are named.
    """
    from cmt_search.export import FORMATS, trained_in

    for source in sources:
        if source.weights is not None:
            continue
        name = source.variant.name
        places = [folder / FORMATS[one].path(name) for one in wanted if FORMATS[one].keeps_weights]
        for place in places:
            if (origin := trained_in(place)) is not None:
                raise ExportError(
                    f"{place} holds trained weights ({origin}), and what is exported has none: "
                    "give its --weights, or another folder; or remove them yourself"
                )


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))
