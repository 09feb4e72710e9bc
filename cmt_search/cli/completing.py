"""What a shell proposes for values; each proposer imports what it needs late, so it is fast."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

Completer = Callable[[str], list[str]]
EXECUTORS = ("ray", "inline")
ALL = "all"


def beginning(words: Callable[[], Iterable[str]]) -> Completer:
    """Proposes those of the words that begin as what was typed."""

    def propose(incomplete: str) -> list[str]:
        return [word for word in words() if word.startswith(incomplete)]

    return propose


def list_of(words: Callable[[], Iterable[str]]) -> Completer:
    """The same for the last part of a list with commas; no part twice."""

    def propose(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        have = before.split(",")
        return [
            f"{before}{comma}{word}"
            for word in words()
            if word.startswith(last) and word not in have
        ]

    return propose


def _presets() -> Iterable[str]:
    from cmt_search.presets import PRESETS

    return PRESETS


def _formats() -> Iterable[str]:
    from cmt_search.export import FORMATS, STUDY_FORMATS

    return (*FORMATS, *STUDY_FORMATS, ALL)


def _rules() -> Iterable[str]:
    from cmt_search.scaling import CATALOGUE

    return ("best", "least-activations", "least-params", *CATALOGUE)


def _runs(incomplete: str) -> Iterator[str]:
    """Folders of runs, as far as was typed or in ./runs."""
    typed = Path(incomplete or "runs/")
    parent = typed if not incomplete or incomplete.endswith("/") else typed.parent
    for place in (parent, *([Path("runs")] if "/" not in incomplete else [])):
        yield from sorted(str(found.parent) for found in place.glob("*/run.json"))


def runs_beside(incomplete: str) -> list[str]:
    """Folders of runs that begin as what was typed."""
    return [one for one in dict.fromkeys(_runs(incomplete)) if one.startswith(incomplete)]


def variants(incomplete: str) -> list[str]:
    """Presets, and what stands for all members."""
    return beginning(lambda: (ALL, *_presets()))(incomplete)


def exportable(incomplete: str) -> list[str]:
    """Runs and presets."""
    return [*runs_beside(incomplete), *presets(incomplete)]


presets = beginning(_presets)
bases = beginning(lambda: ("run", *_presets()))
executors = beginning(lambda: EXECUTORS)
formats_or_all = list_of(_formats)
weights_words = beginning(lambda: ("retrain", "none"))
rules = beginning(_rules)
rules_list = list_of(lambda: ("none", *_rules()))
