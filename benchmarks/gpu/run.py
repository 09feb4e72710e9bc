"""Everything that a GPU must show, in one command.

    python benchmarks/gpu/run.py --data data/cifar10

Steps run one after another, each in a process of its own and within its time limit. A result is
written when it exists, and a later call continues where this one ended; `--only STEP --again`
measures a step anew. `--quick` goes through every step in tiny sizes, on a CPU if there is no GPU:
it shows that the steps run, and its figures mean nothing. README.md in this folder has the commands
for a machine that is offline and lent for minutes.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from plan import COMMIT_VARIABLE, HERE, PLAN, ROOT, Results, Step, describe_machine, missing_modules

QUICK_MINUTES = 3.0  # time limit of a step in quick mode
LAST_LINES = 12  # of the output of a step that failed or ran out of time, that are kept
LEAST_SECONDS = 20.0  # a step is not started with less


def main() -> int:
    """Run the steps, print the goals, return 1 if a step failed."""
    args = arguments()
    end = time.monotonic() + 60 * args.minutes
    args.out.mkdir(parents=True, exist_ok=True)
    if args.commit:
        os.environ[COMMIT_VARIABLE] = args.commit  # the steps' processes read it
    results = Results(folder=args.out, machine=describe_machine(args.device))
    results.check_mode(quick=args.quick)
    results.save({"quick": args.quick})
    for name in (args.only or results.states()) if args.again else ():
        results.forget(name)
    for step in (step for step in PLAN if not args.only or step.name in args.only):
        if results.states().get(step.name, {}).get("state") == "done":
            print(f"{step.name:12s} done in an earlier call", flush=True)
            continue
        seconds = min(60 * (QUICK_MINUTES if args.quick else step.minutes), end - time.monotonic())
        if seconds < LEAST_SECONDS:
            print(f"{step.name:12s} no time left; the same command continues", flush=True)
            break
        state = run_step(step, args=args, seconds=seconds, results=results)
        results.set_state(step.name, state)
        print(f"{step.name:12s} {state['state']}, {state['seconds']:.0f} s", flush=True)
        if state["output"]:
            print(state["output"], flush=True)
    for line in goals(results):
        print(line)
    return int(any(s["state"] == "failed" for s in results.states().values()))


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes; figures mean nothing")
    parser.add_argument(
        "--only", nargs="+", choices=[s.name for s in PLAN], help="of all steps, these"
    )
    parser.add_argument("--again", action="store_true", help="forget what the steps measured")
    parser.add_argument("--commit", default="", help="of a copy without .git, for the rows")
    parser.add_argument("--device", choices=["cpu", "cuda"], default=device)
    parser.add_argument(
        "--data", type=Path, help="CIFAR-10: torchvision's layout, or folders of images"
    )
    parser.add_argument("--minutes", type=float, default=600.0, help="time limit of this call")
    parser.add_argument("--out", type=Path, default=HERE.parent / "results" / "gpu")
    return parser.parse_args()


def run_step(
    step: Step, *, args: argparse.Namespace, seconds: float, results: Results
) -> dict[str, Any]:
    """Run a step in a process, and return how it ended."""
    if missing := missing_modules(step):
        text = f"this Python lacks {', '.join(missing)}; see benchmarks/gpu/README.md, wheels"
        return {"state": "skipped", "seconds": 0.0, "output": text}
    command = [sys.executable, str(HERE / "step.py"), step.name, "--device", args.device]
    command += ["--out", str(args.out.resolve())]
    command += ["--quick"] if args.quick else []
    command += ["--data", str(args.data.resolve())] if args.data else []
    log = results.folder / f"{step.name}.log"
    began = time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, cwd=ROOT, start_new_session=True
        )
        try:
            state = "failed" if process.wait(seconds) else "done"
        except subprocess.TimeoutExpired:
            state = "time limit"
        finally:
            end_group(process)
    lines = log.read_text(errors="replace").strip().splitlines()
    log.unlink()
    output_end = "" if state == "done" else "\n".join(lines[-LAST_LINES:])
    return {"state": state, "seconds": round(time.monotonic() - began, 1), "output": output_end}


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a step and the processes that it started."""
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(10)
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, subprocess.TimeoutExpired):
        pass
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def goals(results: Results) -> Iterator[str]:
    """Compare what was measured with what is wanted of an H100 or H200."""
    training = results.rows("training")
    speeds = {(row["case"], row["variant"]): row for row in training if row["images_per_s"]}
    for (case, variant), row in speeds.items():
        eager = speeds.get((case, "ours-eager"))
        if variant != "ours" or eager is None:
            continue
        ratio = float(row["images_per_s"]) / float(eager["images_per_s"])
        wanted = 3.0 if float(row["macs"]) <= 60e6 else None
        yield verdict(f"{case}: captured / eager images/s", ratio, wanted)
        yield verdict(f"{case}: part of the time in steps", float(row["in_steps"] or 0), 0.9)
    for row in results.rows("concurrency"):
        if row["processes"] == "16" and row["ratio_to_one"]:
            yield verdict(f"{row['case']}: images/s of one", float(row["ratio_to_one"]), 5.0)


def verdict(name: str, value: float, wanted: float | None) -> str:
    """Format a goal as a line."""
    if wanted is None:
        return f"{name:60s} {value:6.2f}"
    answer = "reached" if value >= wanted else "missed"
    return f"{name:60s} {value:6.2f}  wanted {wanted:g}: {answer}"


if __name__ == "__main__":
    sys.exit(main())
