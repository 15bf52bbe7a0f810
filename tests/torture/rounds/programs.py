"""The programs that are tortured: a small run of the whole line, and a collection of unlabelled conversations."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import yaml

from mascing.schemas.config import ComputeConfig
from mascing.schemas.settings.method_settings import MethodsConfig
from tests.small_run import small_config

WORKERS = (1, 2)
_STAGE = re.compile(r"([a-z]+): ")


@dataclass(frozen=True)
class Program:
    """A command line of `mascing` by its number of workers; and once it ran undisturbed, what it said and left."""

    name: str
    arguments: dict[int, tuple[str, ...]]
    undisturbed: Path
    lines: Sequence[str] = ()

    def after(self, lines: Sequence[str]) -> "Program":
        """The same, once it has said these lines undisturbed."""
        return replace(self, lines=lines)

    def moment(self, random: Random) -> int:
        """A number of lines after which it is somewhere in a stage; every stage is as likely, and so is its start."""
        by_stage: dict[str, list[int]] = {}
        for number, line in enumerate(self.lines, start=1):
            if (stage := stage_of(line)) is not None:
                by_stage.setdefault(stage, []).append(number)
        return random.choice(by_stage[random.choice([*by_stage])])


def stage_of(line: str) -> str | None:
    """The stage that a line is of; ``starting`` before the first; None for what is told at the end."""
    if line.startswith(("starting", "loading")):
        return "starting"
    said = _STAGE.match(line)
    return said[1] if said and said[1] in _STAGES else None


_STAGES = (
    "intake", "collect", "prepare", "label", "harvest", "train", "optimise", "select", "evaluate", "robustness", "gate",
    "publish", "report",
)  # fmt: skip


def programs(testbed: Path, folder: Path) -> list[Program]:
    """Both, on the model of ``testbed`` and on the same conversations."""
    small = small_config(testbed, folder)
    # One method that learns surrogates, one that counts, one that needs gradients and one that asks the model.
    few = {name: getattr(small.methods, name) for name in ("mascing", "steermoe", "gradient", "active")}
    methods = MethodsConfig(**{**dict.fromkeys(MethodsConfig.model_fields), "random": small.methods.random, **few})
    run: dict[int, tuple[str, ...]] = {}
    collection: dict[int, tuple[str, ...]] = {}
    for workers in WORKERS:
        path = folder / f"run-{workers}.yaml"
        config = small.model_copy(update={"methods": methods, "compute": ComputeConfig(workers=workers)})
        path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
        run[workers] = ("run", str(path))
        collection[workers] = (
            "harvest", str(small.behaviour.conversations), "--model", str(testbed), "--rows", "8",
            "--batch-tokens", "64", "--workers", str(workers),
        )  # fmt: skip
    return [
        Program("run", run, folder / "undisturbed-run"), Program("harvest", collection, folder / "undisturbed-harvest")
    ]  # fmt: skip
