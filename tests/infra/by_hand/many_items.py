"""A driver that maps many short items over the workers of a cluster, and says how far it is and on which nodes.

    python many_items.py ITEMS WORKERS

It fails if an item is lost.
"""

import sys
import time
from typing import Any

import ray

from mascing.schemas.config import ComputeConfig
from mascing.tasks.workers.metrics import TAGS, report
from mascing.tasks.workers.pool import Pool

PAUSE_SECONDS = 0.5
COUNTED = ("tokens", "padding", "quarantined", "out_of_memory", "retries")


def square(worker: Any, seconds: float, item: int) -> tuple[int, str]:
    """The item's square, after a while and with everything counted that a worker can count, and the node it ran on."""
    time.sleep(seconds)
    for name in COUNTED:
        report(name, 1, dict.fromkeys(TAGS, "many-items"))
    return item * item, ray.get_runtime_context().get_node_id()


def main(items: int, workers: int) -> None:
    """Print each item that is done, how many nodes there are to work on, and at the end how many worked."""

    def progress(done: int, total: int) -> None:
        known = ray.nodes() if ray.is_initialized() else []
        nodes = sum(node["Alive"] and node["Resources"].get("CPU", 0) > 0 for node in known)
        print(f"{done} of {total} items, {nodes} nodes to work on", flush=True)

    with Pool(ComputeConfig(workers=workers, num_cpus=1)) as pool:
        values = pool.map(square, PAUSE_SECONDS, range(items), progress)
        time.sleep(15)  # the metrics of the last items are still under way
    if [value for value, _ in values] != [item * item for item in range(items)]:
        sys.exit("items are lost")
    print(f"all {items} items are done, on {len({node for _, node in values})} nodes")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
