"""optuna-dashboard opens the study of any run."""

import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from cmt_search.search import RunDir, read_trials, run_search
from tests.search.lookup import FakeSampler, FakeSpace, LookupFactory

SPACE = FakeSpace(trials=5, reduction_factor=2, sampler=FakeSampler(lattice=2, replicates=1))


def asked(address: str, *, of: subprocess.Popen[bytes]) -> Any:
    """What the dashboard answers, once it does."""
    deadline = time.monotonic() + 60
    while True:
        try:
            with urlopen(address, timeout=30) as answer:  # of the loopback
                return json.loads(answer.read())
        except URLError:
            assert of.poll() is None, "the dashboard ended"
            assert time.monotonic() < deadline, "the dashboard does not answer"
            time.sleep(0.1)


def test_the_dashboard_shows_our_trials(tmp_path: Path) -> None:
    pytest.importorskip("optuna_dashboard")
    program = shutil.which("optuna-dashboard", path=str(Path(sys.executable).parent))
    assert program is not None
    run = RunDir.create(tmp_path / "r", space_yaml="", fingerprint=SPACE.fingerprint)
    run_search(run, SPACE, LookupFactory(), executor="inline")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, f"sqlite:///{run.study}", "--host", "127.0.0.1", "--port", str(port)]
    dashboard = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path
    )
    try:
        api = f"http://127.0.0.1:{port}/api/studies"
        (study,) = asked(api, of=dashboard)["study_summaries"]
        assert study["study_name"] == "r"
        shown = asked(f"{api}/{study['study_id']}?after=0", of=dashboard)["trials"]
    finally:
        dashboard.terminate()
        dashboard.wait(20)
    trials = read_trials(run.path)
    assert [trial["number"] for trial in shown] == [trial.number for trial in trials]
    for ours, theirs in zip(trials, shown, strict=True):
        attributes = {one["key"]: one["value"] for one in theirs["user_attrs"]}
        assert theirs["state"] == {"complete": "Complete", "pruned": "Pruned"}[ours.state]
        assert attributes["name"].strip('"') == ours.name
        assert float(attributes["macs"]) == ours.rungs[-1].rung.macs
        steps = [one["step"] for one in theirs["intermediate_values"]]
        assert steps == [i for i, rung in enumerate(ours.rungs) if rung.measurements]
