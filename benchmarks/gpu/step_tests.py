"""The tests that are marked gpu."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from plan import ROOT, Context, Row

OUTCOMES = {"failure": "failed", "error": "failed", "skipped": "skipped"}


def measure(context: Context) -> Iterator[Row]:
    """Yield a row per test, file by file."""
    files = [p for p in sorted(ROOT.glob("tests/**/test_*.py")) if "mark.gpu" in p.read_text()]
    for file in files[:1] if context.quick else files:
        named = {f"{c.get('classname')}::{c.get('name')}": c for c in run_file(file)}
        for name in context.pending(named):
            yield test_row(name, named[name], on_gpu=context.on_gpu)


def run_file(file: Path) -> list[ElementTree.Element]:
    """Run the tests of a file that are marked gpu; return pytest's report on each."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        options = ["-m", "gpu", "-q", f"--junitxml={report}", "-p", "no:cacheprovider"]
        command = [sys.executable, "-m", "pytest", *options, str(file)]
        answer = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
        if not report.exists():
            raise SystemExit(answer.stdout + answer.stderr)
        cases = list(ElementTree.parse(report).iter("testcase"))
    if not cases:
        raise SystemExit(f"pytest collected no test of {file}:\n{answer.stdout}{answer.stderr}")
    return cases


def test_row(name: str, case: ElementTree.Element, *, on_gpu: bool) -> Row:
    """Convert pytest's report on a test."""
    problem = next((child for child in case if child.tag in OUTCOMES), None)
    outcome = "passed" if problem is None else OUTCOMES[problem.tag]
    return {
        "case": name,
        "outcome": outcome,
        "seconds": case.get("time"),
        "note": "" if problem is None else (problem.get("message") or "").split("\n")[0],
        "passed": outcome == "passed" or (outcome == "skipped" and not on_gpu),
    }
