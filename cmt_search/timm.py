"""Run a script of timm with the networks of this package registered.

    python -m cmt_search.timm train.py --model local-dir:FOLDER --data-dir IMAGES

On several GPUs: `torchrun --nproc-per-node 8 -m cmt_search.timm train.py ...`.
"""

import runpy
import sys
from pathlib import Path


def main() -> None:
    """Register the networks, then run the script that the first argument names."""
    if len(sys.argv) < 2:
        sys.exit("usage: python -m cmt_search.timm SCRIPT [ARGUMENTS]")
    script = Path(sys.argv[1])
    if not script.is_file():
        sys.exit(f"{script} does not exist; give timm's train.py, validate.py or another script")
    import cmt_search.builder  # noqa: F401 - registers the networks

    sys.argv = sys.argv[1:]
    sys.path.insert(0, str(script.resolve().parent))  # as `python SCRIPT` does
    runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    main()
