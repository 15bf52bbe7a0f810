"""`mascing mask tasks`: what a mask does to tasks of lm-evaluation-harness."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mascing.commands.options import DEFAULT_STORAGE, StorageOption
from mascing.errors import DataError
from mascing.prose import counted, echo_prose

if TYPE_CHECKING:
    from mascing.harnesses.lm_eval.task_change import TaskChanges


def run_tasks(
    mask: Annotated[str, typer.Argument(metavar="MASK", help="File, URL, or behaviour@channel.")],
    model: Annotated[str, typer.Option(help="Folder, storage URL or hub id of the model.")],
    tasks: Annotated[str, typer.Option(metavar="NAMES", help="Tasks of the harness, with commas between them.")],
    include_path: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Task files of your own, as in the harness.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Documents of each task; by default all.")] = None,
    num_fewshot: Annotated[int | None, typer.Option(min=0, help="Examples before each; by default the task's.")] = None,
    apply_chat_template: Annotated[
        bool, typer.Option(help="Put what is asked into the model's chat template.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Requests in a batch.")] = 8,
    device: Annotated[str | None, typer.Option(help="By default the first GPU, or cpu.")] = None,
    dtype: Annotated[str, typer.Option(help="auto is that of the checkpoint.")] = "auto",
    cluster: Annotated[
        str | None, typer.Option(metavar="FIELD", help="Field of the documents that says which belong together.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Folder for changes.json and both results with all samples.")
    ] = None,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """Run tasks of lm-evaluation-harness without and with a mask, and compare them sample by sample.

    Needs the extra: pip install 'mascing[lm-eval]'. Both runs answer the same samples, so the difference has a paired
    interval and test, which two results of the harness do not have. p is adjusted for all metrics by Holm's method. A
    metric that is no number for each sample, such as perplexity, is shown as the harness reports it, without a test.

    Example:

      mascing mask tasks jailbreak-defence@candidate --model ./my-model --tasks arc_easy,gsm8k --limit 200
    """
    from mascing.harnesses.extras import require

    require("lm-eval")
    from lm_eval.tasks import TaskManager

    from mascing.commands.outcomes.tables import print_table
    from mascing.harnesses.lm_eval.paired import task_changes
    from mascing.harnesses.lm_eval.steered_lm import SteeredLM
    from mascing.harnesses.lm_eval.task_change import HEADINGS

    manager = TaskManager(include_path=include_path)
    names = tasks.split(",")
    absent = [name for name in names if not manager.match_tasks([name])]
    if absent:
        raise DataError(
            f"the harness has no task {' or '.join(absent)}: `lm-eval ls tasks` lists them{_of_ones_own(include_path)}"
        )
    steered = SteeredLM(model, mask, storage, batch_size=batch_size, device=device, dtype=dtype)
    changes = task_changes(
        steered,
        manager.match_tasks(names),
        cluster=cluster,
        task_manager=manager,
        limit=limit,
        num_fewshot=num_fewshot,
        apply_chat_template=apply_chat_template,
    )
    print_table(HEADINGS, changes.rows())
    if out is not None:
        _write(changes, Path(out))
        typer.echo(f"written: {out}")
    echo_prose(_next(changes))


def _of_ones_own(include_path: str | None) -> str:
    if include_path is not None:
        return f", and no file in {include_path} is of a task of that name"
    return "; for a task file of your own name its folder by --include-path, and here what the file says as `task`"


def _write(changes: "TaskChanges", folder: Path) -> None:
    from lm_eval.utils import handle_non_serializable

    folder.mkdir(parents=True, exist_ok=True)
    contents = {"changes": changes.as_json(), "without": changes.before, "with": changes.after}
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content, indent=1, default=handle_non_serializable))


def _next(changes: "TaskChanges") -> str:
    moved = [f"{change.task} {change.metric}" for change in changes.changes if (change.holm_p or 1) <= 0.05]
    said = (
        f"{counted(len(moved), 'metric')} moved by more than chance ({', '.join(moved)})"
        if moved
        else ("no metric moved by more than chance, which does not show that nothing was lost: look at the intervals")
    )
    return f"next: {said}; read a few samples of both runs before you trust a number"
