"""The scheduled flow as a served deployment whose pool works in its own process: `python -m` it with its parameters.

Prefect starts a process for every run, which imports this file; a Ray instance for each would only cost time.
"""

import sys
from datetime import timedelta
from pathlib import Path

from prefect import serve
from prefect.deployments.runner import RunnerDeployment

from mascing.flows.schedule import scheduled as module
from mascing.flows.schedule.scheduled import scheduled as scheduled
from tests.tasks.here_pool import HerePool

vars(module)["Pool"] = lambda *_: HerePool()

INTERVAL = timedelta(seconds=10)

if __name__ == "__main__":
    import json

    made = RunnerDeployment.from_entrypoint(
        f"{Path(__file__).resolve()}:scheduled",
        name="served",
        interval=INTERVAL,
        parameters=json.loads(Path(sys.argv[1]).read_text()),
    )
    serve(made, limit=1)
