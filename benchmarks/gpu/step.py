"""Run one step of the plan; `run.py` starts it as a process of its own."""

import argparse
import importlib
import signal
import sys
from pathlib import Path

from plan import PLAN, Context, Results, describe_machine


def main() -> None:
    """Measure the cases that are not measured yet, and write each row when it exists."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("name", choices=[step.name for step in PLAN])
    parser.add_argument("--device", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # a step ends what it has started
    results = Results(folder=args.out, machine=describe_machine(args.device))
    earlier = [row for row in results.rows(args.name) if row.get("passed") != "False"]
    results.write(args.name, earlier)  # what failed is measured again
    context = Context(
        device=args.device,
        quick=args.quick,
        folder=args.out,
        data=args.data,
        rows=tuple(earlier),
    )
    failed = []
    for row in importlib.import_module(f"step_{args.name}").measure(context):
        results.add(args.name, row)
        if row.get("passed") is False:
            failed.append(f"{row['case']}: {row.get('note', '')}")
    if failed:
        raise SystemExit("\n".join(failed))


if __name__ == "__main__":
    main()
