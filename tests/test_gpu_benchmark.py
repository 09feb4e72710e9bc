"""The GPU benchmark: its plan, its results, the wheels that it carries."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

GPU = Path(__file__).parents[1] / "benchmarks" / "gpu"
if not GPU.exists():
    pytest.skip("the benchmarks are not installed", allow_module_level=True)
QUICK = [sys.executable, str(GPU / "run.py"), "--quick", "--device", "cpu"]


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that all steps share."""
    monkeypatch.setattr(sys, "path", [str(GPU), *sys.path])
    import plan

    return plan


@pytest.fixture
def wheels(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script that collects and installs wheels."""
    monkeypatch.setattr(sys, "path", [str(GPU), *sys.path])
    import wheels

    return wheels


@pytest.mark.slow
@pytest.mark.ci
def test_the_quick_run_goes_through_every_step_on_a_cpu(plan: ModuleType, tmp_path: Path) -> None:
    answer = subprocess.run(
        [*QUICK, "--out", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    document = json.loads((tmp_path / "run.json").read_text())
    assert {name: step["state"] for name, step in document["steps"].items()} == {
        step.name: "done" for step in plan.PLAN
    }
    results = plan.Results(folder=tmp_path)
    for step in plan.PLAN:
        rows = results.rows(step.name)
        assert rows, step.name
        assert all(row["torch"] and row["hardware"] for row in rows)
        assert all(row.get("passed", "True") == "True" for row in rows)
    assert all(int(row["trainings"]) == 2 for row in results.rows("search") + results.rows("ray"))
    assert (tmp_path / "runs" / "ray" / "study.db").exists()


def test_every_step_has_a_module(plan: ModuleType) -> None:
    assert {path.stem for path in GPU.glob("step_*.py")} == {f"step_{s.name}" for s in plan.PLAN}
    readme = (GPU / "README.md").read_text()
    assert all(f"| `{step.name}` | {step.minutes:g} |" in readme for step in plan.PLAN)


def test_results_grow_row_by_row_and_are_replaced_as_a_whole(
    plan: ModuleType, tmp_path: Path
) -> None:
    results = plan.Results(folder=tmp_path, machine={"hardware": "GPU"})
    results.add("memory", {"case": "a", "mib": 1})
    results.add("memory", {"case": "b", "note": "more"})
    assert [row["case"] for row in results.rows("memory")] == ["a", "b"]
    assert results.rows("memory")[0]["note"] == ""
    results.set_state("memory", {"state": "done"})
    results.forget("memory")
    assert results.rows("memory") == []
    assert results.states() == {}


def test_quick_figures_never_stand_beside_real_ones(plan: ModuleType, tmp_path: Path) -> None:
    plan.Results(folder=tmp_path).save({"quick": True})
    with pytest.raises(SystemExit, match="quick run; use another --out"):
        plan.Results(folder=tmp_path).check_mode(quick=False)


def test_measured_cases_are_not_measured_again(plan: ModuleType, tmp_path: Path) -> None:
    context = plan.Context(device="cpu", quick=True, folder=tmp_path, rows=({"case": "a"},))
    assert list(context.pending(["a", "b"])) == ["b"]


def test_wheels_are_cut_packed_and_joined(wheels: ModuleType, tmp_path: Path) -> None:
    source, out, waiting = tmp_path / "source", tmp_path / "out", tmp_path / "waiting"
    for folder in (source, out, waiting):
        folder.mkdir()
    large = bytes(range(256)) * 2**12 * 60  # 60 MiB
    (source / "large-1.whl").write_bytes(large)
    (source / "small-1.whl").write_bytes(b"small")
    parts = wheels.pack(source, out=out, name="core")
    assert [part.name for part in parts] == ["core-1", "core-2"]
    assert all(wheels.size(part.iterdir()) <= wheels.CARRY_MIB * 2**20 for part in parts)
    for number, part in enumerate(parts):
        for file in part.iterdir():
            (waiting / file.name).write_bytes(file.read_bytes())
        wheels.join(waiting)
        assert (waiting / "large-1.whl").exists() == (number == 1)
    assert (waiting / "large-1.whl").read_bytes() == large
    assert sorted(path.name for path in waiting.iterdir()) == ["large-1.whl", "small-1.whl"]


def test_the_wheels_of_a_search_leave_out_what_torch_brings(wheels: ModuleType) -> None:
    carried = wheels.needs(wheels.CORE) - wheels.needs(wheels.PRESENT)
    assert {"optuna", "pydantic", "sqlalchemy", "pandas"} <= carried
    assert not carried & {"torch", "numpy", "pillow"}
