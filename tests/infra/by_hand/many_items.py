"""A driver that maps many short items over the workers of a cluster, and says how far it is and on which nodes.

    python many_items.py ITEMS WORKERS

It fails if an item is lost.
"""

import sys
import time
from typing import Any

import ray
import ray.util.metrics
from our_metrics import OURS, TAGS  # type: ignore[import-not-found]  # it lies beside this program when it runs

from mascing.schemas.config import ComputeConfig
from mascing.tasks.workers.pool import Pool

PAUSE_SECONDS = 0.5


def square(worker: Any, kinds: dict[str, str], item: int) -> tuple[int, str]:
    """The item's square, after a while and with every metric told, and the node where it was made."""
    time.sleep(PAUSE_SECONDS)
    if not hasattr(worker, "metrics"):
        worker.metrics = [
            ray.util.metrics.Histogram(name, boundaries=[0.1, 1, 10], tag_keys=TAGS)
            if kind == "Histogram"
            else ray.util.metrics.Counter(name, tag_keys=TAGS)
            for name, kind in kinds.items()
        ]
    for metric in worker.metrics:
        tell = metric.observe if isinstance(metric, ray.util.metrics.Histogram) else metric.inc
        tell(PAUSE_SECONDS, tags=dict.fromkeys(TAGS, "many-items"))
    return item * item, ray.get_runtime_context().get_node_id()


def main(items: int, workers: int) -> None:
    """Print each item that is done, how many nodes there are to work on, and at the end how many worked."""

    def progress(done: int, total: int) -> None:
        nodes = sum(node["Alive"] and node["Resources"].get("CPU", 0) > 0 for node in ray.nodes())
        print(f"{done} of {total} items, {nodes} nodes to work on", flush=True)

    with Pool(ComputeConfig(workers=workers, num_cpus=1)) as pool:
        values = pool.map(square, OURS, range(items), progress)
        time.sleep(15)  # the metrics of the last items are still under way
    if [value for value, _ in values] != [item * item for item in range(items)]:
        sys.exit("items are lost")
    print(f"all {items} items are done, on {len({node for _, node in values})} nodes")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
