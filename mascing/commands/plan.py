"""`mascing plan`: how many conversations a claim needs, before any model is run."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from mascing.commands.options import DEFAULT_STORAGE, StorageOption, storage_option

if TYPE_CHECKING:
    from mascing.evidence.planning import Question
    from mascing.schemas.config import GatesConfig, RunConfig
    from mascing.tasks.contrast.stored_labels import Known

_GROUP_SIZES = (1, 2, 4, 8)


def plan(
    config: Annotated[
        str | None, typer.Argument(metavar="[CONFIG.yaml]", help="A run: say whether its conversations are enough.")
    ] = None,
    uplift: Annotated[
        float | None, typer.Option(min=0, max=1, help="The true uplift to be shown: 0.2 is 20 points.")
    ] = None,
    baseline: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Target rate of the unsteered model; unknown, 0.5 or what the uplift leaves."),
    ] = None,
    power: Annotated[float, typer.Option(min=0.05, max=0.99, help="Wanted chance that each gate is passed.")] = 0.8,
    group_size: Annotated[int, typer.Option(min=1, max=100, help="Conversations a group (a goal, a question).")] = 4,
    correlation: Annotated[
        float, typer.Option(min=0, max=0.95, help="How far a mask changes the conversations of a group together.")
    ] = 0.2,
    lost: Annotated[
        float, typer.Option(min=0, max=1, help="Share of target conversations that the mask turns from hit to miss.")
    ] = 0.0,
    utility_lost: Annotated[float, typer.Option(min=0, max=1, help="True loss on utility and protected sets.")] = 0.0,
    min_uplift: Annotated[
        float | None, typer.Option(min=0, max=1, help="Gate: what the lower bound must reach; default 0.1.")
    ] = None,
    max_loss: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Gate: the most that a utility or protected set may lose; default 0.1."),
    ] = None,
    storage: StorageOption = DEFAULT_STORAGE,
) -> None:
    """Say how many test conversations it takes to show an uplift, or whether those of a run are enough.

    A mask is published if the lower end of its uplift's 95% interval reaches min_uplift, and no utility or protected
    set may have lost more than its limit at the bad end of its own. So what must be shown is the difference between
    the true uplift and min_uplift, and a mask that costs nothing still needs a utility set large enough to show it.
    Each number is found by simulating test splits and putting them through the very interval that the gates use.

    Conversations of one group are not independent: large groups that change together (correlation) need more
    conversations in all. Many small groups are worth more than a few large ones.

    With a configuration: whether there is enough to learn from, and whether the test split can pass the gates of the
    run. If `mascing label` has labelled the conversations under --storage, its counts and its target rate are used.

    A plan only informs: it exits with 0 whatever it finds, where `mascing check` exits with 1 if a run would stop.

    Examples:

      mascing plan --uplift 0.2

      mascing plan run.yaml

      mascing plan --uplift 0.15 --baseline 0.3 --power 0.9 --group-size 2 --correlation 0.1

      mascing plan --uplift 0.3 --lost 0.05 --utility-lost 0.01 --max-loss 0.05
    """
    from rich.console import Console

    from mascing.commands.line import say_prose
    from mascing.evidence.planning import answers, question_of
    from mascing.schemas.config import GatesConfig

    run = _run(config, storage) if config is not None else None
    if uplift is None and run is None:
        raise typer.BadParameter("say which uplift is to be shown, or name a CONFIG.yaml", param_hint="--uplift")
    gates = _changed(run.config.gates if run else GatesConfig(), min_uplift, max_loss)
    rate = baseline if baseline is not None else run.target_rate if run else None
    assumed = {"power": power, "correlation": correlation, "utility_lost": utility_lost}
    question = question_of(gates, rate, uplift, lost, **assumed)
    if run is None or uplift is not None:
        question.refuse_impossible()
    console = Console()
    sizes = sorted({*_GROUP_SIZES, group_size})
    lines = answers(question, group_size, sizes) if run is None else run.lines(question, gates.protected_tolerance)
    for line in lines:
        say_prose(console, line)


@dataclass(frozen=True)
class _Run:
    """A run that has not been made: its configuration, and its conversations with the labels that are known."""

    path: str
    config: "RunConfig"
    known: "Known"
    storage: str

    @property
    def target_rate(self) -> float | None:
        """The target rate of the unsteered model on the test split, if its replies are known."""
        labels = self.known.labels
        return labels.sets["test"]["target"].rate.value if labels else None

    def lines(self, question: "Question", protected_loss: float) -> Iterator[str]:
        """Say whether there is enough to learn from, and whether the test split can pass the gates."""
        from mascing.evidence.prospects import of_each_split, prospects
        from mascing.evidence.sufficiency import lacking

        labels, foregone = self.known.labels, self.known.foregone
        where = storage_option(self.storage)
        if labels is None:
            yield "the model's own labels are not known yet; the file holds:"
            yield from of_each_split(self.known.targets)
            following = self._before_labels(where)
        elif missing := lacking(labels, self.config):
            yield f"not enough to learn from: {'; '.join(missing[:-1])}"
            following = missing[-1]
        else:
            yield "the model's own replies leave enough to learn from"
            following = f"mascing run {self.path}{where}"
        yield from map(str, foregone)
        blocked = {gate.gate for gate in foregone}
        expected = prospects(question, self.known.test, protected_loss, blocked)
        yield from expected.lines
        if labels is not None and foregone:
            following = f"{foregone[0].mend}, then {following}"
        if labels is not None and (few := [each.name for each in expected.too_few if each.name not in blocked]):
            following = f"bring more rows of {', '.join(few)}, or loosen their gates; then {following}"
        yield f"next: {following}"

    def _before_labels(self, where: str) -> str:
        """What to do first while the replies are not known: what `mascing check` says, or label."""
        if empty := [split for split, held in self.known.targets.items() if not held.conversations]:
            return (
                f"add target conversations of more groups, or give a larger share in `splits` to "
                f"{' and '.join(empty)}, which has none"
            )
        if self.known.foregone and not self.config.allow_unpublishable:
            return f"{self.known.foregone[0].mend}, then mascing check {self.path}"
        return f"mascing label {self.path}{where}, which says whether they are enough to learn from"


def _changed(gates: "GatesConfig", min_uplift: float | None, max_loss: float | None) -> "GatesConfig":
    """The gates with the limits of the command line in place of their own."""
    given = {"min_uplift": min_uplift, "max_utility_loss": max_loss, "protected_tolerance": max_loss}
    return gates.model_copy(update={name: value for name, value in given.items() if value is not None})


def _run(path: str, storage: str) -> _Run:
    from mascing.config import load_config
    from mascing.storage.object_storage import Storage
    from mascing.tasks.contrast.stored_labels import known

    config = load_config(path)
    return _Run(path, config, known(Storage.open_to_read(storage), config), storage)
