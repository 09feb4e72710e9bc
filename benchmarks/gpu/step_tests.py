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
    """Yield a row per test."""
    files = [str(p) for p in sorted(ROOT.glob("tests/**/test_*.py")) if "mark.gpu" in p.read_text()]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        options = ["-m", "gpu", "-q", f"--junitxml={report}", "-p", "no:cacheprovider"]
        command = [sys.executable, "-m", "pytest", *options, *files]
        answer = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
        if not report.exists():
            raise SystemExit(answer.stdout + answer.stderr)
        cases = list(ElementTree.parse(report).iter("testcase"))
    if not cases:
        raise SystemExit(f"pytest collected no test:\n{answer.stdout}{answer.stderr}")
    named = {f"{case.get('classname')}::{case.get('name')}": case for case in cases}
    for name in context.pending(named):
        case = named[name]
        problem = next((child for child in case if child.tag in OUTCOMES), None)
        outcome = "passed" if problem is None else OUTCOMES[problem.tag]
        yield {
            "case": name,
            "outcome": outcome,
            "seconds": case.get("time"),
            "note": "" if problem is None else (problem.get("message") or "").split("\n")[0],
            "passed": outcome == "passed" or (outcome == "skipped" and not context.on_gpu),
        }
