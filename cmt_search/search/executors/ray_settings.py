"""How Ray is kept quiet. Imports no ray: it reads some of this when it is imported."""

import logging
import os

_VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no telemetry
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # a data set's relative path stays what it is
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # a driver under `uv run` would start workers with it
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # ours lets the running jobs finish
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # Tune's state is never read, and grows with every job
}


def quiet_ray() -> None:
    """Set what the user has not set."""
    for name, value in _VARIABLES.items():
        os.environ.setdefault(name, value)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
