"""What messages must say, without their wording: the place, the value and the remedy."""

import re


def mentions(text: str, message: str) -> bool:
    """Whether `text` holds the parts of `message`, which " ... " separates, in this order."""
    parts = (re.escape(part) for part in message.split(" ... "))
    return re.search(".*".join(parts), " ".join(text.split()), re.DOTALL) is not None
