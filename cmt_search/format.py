"""Format numbers for people: quantities, accuracies, durations. Imports nothing."""

from typing import Any

MINUS = "\N{MINUS SIGN}"
MISSING = "\N{EN DASH}"
_UNITS = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


def parse_quantity(value: Any) -> float:
    """Parse a positive number, or text with a unit k, M, G or T.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, str):
        text = value.strip().removesuffix("MACs").strip()
        scale = _UNITS.get(text[-1:], 1.0)
        digits = text[:-1] if scale != 1.0 else text
    elif isinstance(value, int | float) and not isinstance(value, bool):
        scale, digits = 1.0, str(value)
    else:
        raise ValueError(f"{value!r} is not a number; write one such as 1500000, 1.5M or 0.64G")
    try:
        number = float(digits) * scale
    except ValueError:
        number = float("nan")
    if not 0 < number < float("inf"):
        raise ValueError(f"{value!r} is not a positive number; write one such as 1.5M or 0.64G")
    return number


def format_quantity(value: float) -> str:
    """Format three significant digits and a unit: 1546873472 is 1.55G."""
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= scale * 0.9995:  # what would round to 1000 of a unit is 1 of the next
            return f"{float(f'{value / scale:.3g}'):g}{unit}"
    return f"{value:.3g}"


def points(top1: float, *, sign: bool = False) -> str:
    """A difference of top1 in points, one decimal; two where it is small."""
    value = 100 * top1
    text = f"{abs(value):.2f}" if abs(value) < 0.095 else f"{abs(value):.1f}"
    if float(text) == 0:
        return "0.0"
    return (MINUS if value < 0 else "+" if sign else "") + text


def percent(top1: float) -> str:
    """An accuracy or a fraction in per cent."""
    return f"{100 * top1:.1f}%"


def macs_text(macs: float) -> str:
    """MACs with the prefix that suits their size."""
    for unit, size in (("GMACs", 1e9), ("MMACs", 1e6), ("kMACs", 1e3)):
        if macs >= size:
            return f"{macs / size:.3g} {unit}"
    return f"{macs:.0f} MACs"


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, size in (("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def counted(number: int, what: str) -> str:
    """So many of them: 1 trial, 2 trials."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def sentence(reason: str) -> str:
    """A reason as a sentence."""
    return f"{reason[:1].upper()}{reason[1:].rstrip('.')}."
