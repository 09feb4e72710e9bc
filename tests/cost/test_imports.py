"""Costs and rules are computed without torch and without the search's libraries."""

import subprocess
import sys

FORBIDDEN = "torch timm pydantic yaml pandas scipy ray optuna plotly dash typer"


def test_cost_and_scaling_import_numpy_alone() -> None:
    code = (
        "import sys, cmt_search.scaling, cmt_search.cost, cmt_search.cost.cache;"
        f"print(*set('{FORBIDDEN}'.split()) & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
