"""How Ray is kept quiet and at home. Imports no ray: it reads some of this when it is imported."""

import logging
import os

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no telemetry
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # a data set's relative path stays what it is
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # a driver under `uv run` would start workers with it
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # ours lets the running jobs finish
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # Tune's state is never read, and grows with every job
}
# Despite its name it works everywhere: without it Ray's servers listen on all interfaces.
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


def prepare_ray(*, local: bool) -> None:
    """Set what the user has not set, before ray is imported; `local`: on this machine alone."""
    for name, value in (_QUIET | (_LOOPBACK if local else {})).items():
        os.environ.setdefault(name, value)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
