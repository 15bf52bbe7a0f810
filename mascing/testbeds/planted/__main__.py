"""``python -m mascing.testbeds.planted OUT_DIR``: make the testbed of a level and seed."""

from pathlib import Path
from typing import Annotated

import typer

from mascing.testbeds.planted import BEHAVIOURS, build
from mascing.testbeds.planted.levels import LEVELS


def main(
    out_dir: Annotated[Path, typer.Argument(help="Folder for the model and its conversations.")],
    level: Annotated[int, typer.Option(min=min(LEVELS), max=max(LEVELS), help="How hard its circuit is to find.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the circuit, the training and the conversations.")] = 0,
) -> None:
    """Train the model of `mascing demo`, which takes one or two minutes, and write its conversations beside it."""
    build(seed, out_dir, _tell, level=level)
    for behaviour in BEHAVIOURS:
        typer.echo(f"{behaviour}: {out_dir / f'conversations-{behaviour}.jsonl'}")
    typer.echo(f"model: {out_dir}")


def _tell(done: int, total: int) -> None:
    if done == total or done % max(1, total // 10) == 0:
        typer.echo(f"{done} of {total} steps")


if __name__ == "__main__":
    typer.run(main)
