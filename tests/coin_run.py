"""A small run of the whole line on a tiny model whose replies a coin judges: it takes seconds, and means nothing."""

import json
from pathlib import Path
from typing import Any

COIN = {"kind": "tests.tasks.coin_judge:coin"}


def written(folder: Path, model: Path, judge: dict[str, Any], **fields: Any) -> str:
    """A configuration for 80 conversations without labels, unless ``fields`` give them."""
    rows = [
        {"id": f"c{number}", "group_id": f"g{number // 2}", "set": "utility/u" if number % 4 == 3 else "target"}
        | {"messages": [{"role": "user", "content": f"what of bench {number:02d}?"}], **fields}
        for number in range(80)
    ]
    (folder / "c.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    config = {
        "model": {"path": str(model)},
        "behaviour": {
            "name": "b",
            "conversations": str(folder / "c.jsonl"),
            "matching": None,
            **{kind: judge for kind in ("target", "utility", "protected")},
        },
        "generation": {"max_new_tokens": 3},
        "methods": {
            "mascing": None,
            "consensus": None,
            "gradient": None,
            "refined": None,
            "active": None,
            "steermoe": {"n_activated": [1]},
        },
        "splits": {"train": 0.4, "dev": 0.3, "test": 0.3},
        "allow_unpublishable": True,
    }
    (folder / "run.yaml").write_text(json.dumps(config))
    return str(folder / "run.yaml")
