"""Quantities as text: 1.5M, 0.64G."""

from typing import Any

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
