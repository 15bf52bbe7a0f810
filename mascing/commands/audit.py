"""`mascing audit`: how far a safety behaviour falls when its experts are suppressed."""

from typing import Annotated

import typer

from mascing.commands.demo import Behaviour
from mascing.commands.options import DEFAULT_STORAGE, StorageOption, VerboseOption


def audit(
    config: Annotated[
        str | None,
        typer.Argument(metavar="[CONFIG.yaml]", help="Model, behaviour and audit; without one, the built-in testbed."),
    ] = None,
    behaviour: Annotated[Behaviour, typer.Option(help="On the testbed: the behaviour.")] = Behaviour.JAILBREAK_DEFENCE,
    level: Annotated[int, typer.Option(min=1, max=3, help="On the testbed: how hard it is.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="On the testbed: its seed.")] = 0,
    storage: StorageOption = DEFAULT_STORAGE,
    verbose: VerboseOption = False,
) -> None:
    """Measure how far a safety behaviour falls when experts are suppressed.

    Ranks experts on the training split, turns off 1, 2, 4, 8, ... of them, and judges the test split each time, beside
    as many random experts. Writes audit.json, report/index.html and the run.yaml to audit again into a folder under
    runs/: rates with intervals. Keeps no reply of the weakened model, no mask and no ranking, and publishes nothing.
    Finished stages are kept, those of mascing run and mascing demo too.

    Examples:

      mascing audit

      mascing audit run.yaml --storage s3://bucket/mascing
    """
    from mascing.commands.line import run_audit
    from mascing.config import load_config
    from mascing.flows.starting import Line
    from mascing.storage.object_storage import Storage

    loaded = None if config is None else load_config(config)
    opened = Storage.open(storage)

    on_testbed = (behaviour.value, level, seed, opened.url)

    def flow() -> str:
        from mascing.flows import audit_line

        return str(audit_line.audit(loaded, opened.url) if loaded else audit_line.audit_testbed(*on_testbed))

    def finished() -> str:
        from mascing.flows.finished_line import finished_audit, finished_testbed_audit

        return finished_audit(loaded, opened.url) if loaded else finished_testbed_audit(*on_testbed)

    run_audit(opened, Line(flow, finished), verbose)
