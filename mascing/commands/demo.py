"""`mascing demo`: the whole line on the built-in testbed."""

from enum import StrEnum
from typing import Annotated

import typer

from mascing.commands.options import DEFAULT_STORAGE, StorageOption, VerboseOption, storage_option


class Behaviour(StrEnum):
    """What the testbed can be asked to do differently."""

    JAILBREAK_DEFENCE = "jailbreak-defence"
    CONTENT_POLICY = "content-policy"


def demo(
    behaviour: Annotated[
        Behaviour, typer.Option(help="Raise refusals of broken requests, or lower refusals of allowed ones.")
    ] = Behaviour.JAILBREAK_DEFENCE,
    level: Annotated[
        int,
        typer.Option(min=1, max=3, help="How hard the testbed is, from 1 (easy) to 3 (see docs/testbeds.md)."),
    ] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the testbed and of every method.")] = 0,
    storage: StorageOption = DEFAULT_STORAGE,
    verbose: VerboseOption = False,
) -> None:
    """Find a known circuit in a small MoE, and show the evidence.

    Trains the model, makes masks with every method, judges them on conversations kept aside, gates and publishes the
    best, and writes result.json and report/index.html into a folder under runs/. On two cores level 1 takes some
    four minutes and levels 2 and 3 some eight. Needs no download.
    Finished stages are kept: started again, it goes on where it was stopped.

    Examples:

      mascing demo

      mascing demo --level 3

      mascing demo --behaviour content-policy --seed 1 --storage ./policy
    """
    from mascing.commands.line import run_flow
    from mascing.flows.starting import Line
    from mascing.storage.object_storage import Storage

    opened = Storage.open(storage)

    asked = (behaviour.value, level, seed, opened.url)

    def flow() -> str:
        from mascing.flows.demo_line import demo

        return str(demo(*asked))

    def finished() -> str:
        from mascing.flows.finished_line import finished_demo

        return finished_demo(*asked)

    run_flow(opened, Line(flow, finished), verbose, storage_option(storage))
