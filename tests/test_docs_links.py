"""Pages link to what the site holds: `mkdocs build --strict` fails on anything else."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.rglob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_every_link_leads_to_a_file_of_the_site(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if not target.startswith(("http://", "https://", "mailto:")):
            place = (page.parent / target).resolve()
            assert place.is_relative_to(DOCS), f"{target} lies outside of docs"
            assert place.is_file(), f"{target} is not there"


def test_the_site_is_built_so_that_warnings_are_counted() -> None:
    makefile = (DOCS.parent / "Makefile").read_text(encoding="utf-8")
    (build,) = [line for line in makefile.splitlines() if "mkdocs build" in line]
    assert "--strict" in build
    assert "--quiet" not in build  # it keeps warnings from being counted, too
