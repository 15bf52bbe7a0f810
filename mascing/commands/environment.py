"""Default settings for the services of a run, unless the user sets others."""

import os

from mascing.commands.surroundings.folders import use_writable_folders
from mascing.commands.surroundings.proxies import exempt_this_machine

# Read by Prefect, Ray, transformers and tqdm when they are imported or started.
_DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # Without a server of the user's, each run starts one. A profile that names no server would forbid it.
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
    # The first start migrates Prefect's database, which takes longer than its default patience on a small machine.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "RAY_USAGE_STATS_ENABLED": "0",
    # What the driver would print of Ray's own processes: the run says itself what went wrong.
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
}


def set_defaults() -> None:
    """Set unset variables in this process's environment, for it and its child processes.

    Behind a proxy this machine is exempt from it, and folders that cannot be written are replaced.
    """
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    exempt_this_machine(os.environ)
    use_writable_folders(os.environ)
