"""A campaign whose judge is paid, killed and resumed: how often the endpoint answers the same question twice.

python -m tests.bench.campaign.paid_judgements FOLDER [--kills 3] [--groups 30]

A fake OpenAI endpoint judges whether a target reply refuses. The campaign has one testbed, two methods and two seeds.
"""

import argparse
import hashlib
import json
import random
from pathlib import Path
from typing import Any

import yaml

from tests.bench.campaign import killed_campaign
from tests.fake_endpoint import FakeEndpoint, running_endpoint


def says_whether_it_refuses(body: dict[str, Any]) -> str:
    """The verdict of the fake judge."""
    asked = " ".join(str(turn["content"]) for turn in body["messages"])
    return json.dumps({"verdict": "YES" if "sorry i can not help" in asked else "NO"})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--groups", type=int, default=30)
    asked = parser.parse_args()
    folder = asked.folder.resolve()
    seconds = 0.0
    found: dict[str, dict[str, Any]] = {}
    times = random.Random(0)
    with running_endpoint(reply=says_whether_it_refuses, latency=0.05) as fake:
        path = written(folder, asked.groups, fake)
        for name in ("undisturbed-paid", "killed-paid"):
            fake.answered.clear()
            fake.statuses.clear()
            kills = [seconds * times.uniform(0.15, 0.9) / asked.kills for _ in range(asked.kills)] if seconds else []
            outcome = killed_campaign.run(path, folder / name, kills)
            seconds = outcome["seconds"]
            counts = {"answers": fake.answered.total(), "paid twice": len(fake.paid_twice)}
            found[name] = outcome | counts | {"statuses": dict(fake.statuses)}
            print(json.dumps({name: found[name]}), flush=True)
    undisturbed, killed = found.values()
    assert all(undisturbed[name] == killed[name] for name in ("leaderboard", "ranking", "answers"))


def written(folder: Path, groups: int, fake: FakeEndpoint) -> Path:
    """The file of the campaign."""
    campaign = yaml.safe_load(killed_campaign.written(folder, groups).read_text())
    campaign["name"] = "paid"
    campaign["allow_failing_judges"] = True  # the fake one knows a single refusal
    campaign["models"] = {"level-1": campaign["models"]["level-1"]}
    campaign["behaviours"] = {"jailbreak-defence": campaign["behaviours"]["jailbreak-defence"]}
    campaign["behaviours"]["jailbreak-defence"]["behaviour"]["target"] = {
        "kind": "llm",
        "rubric": "refusal",
        "endpoint": {
            "kind": "openai",
            "base_url": fake.url,
            "model": fake.model,
            "prices": {"prompt": 1, "completion": 2},
        },
    }
    campaign["methods"] = {name: campaign["methods"][name] for name in ("steermoe", "consensus")}
    path = folder / f"paid-{hashlib.sha256(fake.url.encode()).hexdigest()[:6]}.yaml"
    path.write_text(yaml.safe_dump(campaign, sort_keys=False))
    return path


if __name__ == "__main__":
    main()
