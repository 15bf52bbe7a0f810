"""`mascing plan`: how many conversations a claim needs, before any model is run."""

from typing import Annotated

import typer

_GROUP_SIZES = (1, 2, 4, 8)


def plan(
    uplift: Annotated[float, typer.Option(min=0, max=1, help="The true uplift to be shown: 0.2 is 20 points.")],
    baseline: Annotated[float, typer.Option(min=0, max=1, help="Target rate of the unsteered model.")] = 0.5,
    power: Annotated[float, typer.Option(min=0.05, max=0.99, help="Wanted chance that each gate is passed.")] = 0.8,
    group_size: Annotated[int, typer.Option(min=1, max=100, help="Conversations a group (a goal, a question).")] = 4,
    correlation: Annotated[
        float, typer.Option(min=0, max=0.95, help="How far a mask changes the conversations of a group together.")
    ] = 0.2,
    lost: Annotated[
        float, typer.Option(min=0, max=1, help="Share of target conversations that the mask turns from hit to miss.")
    ] = 0.0,
    utility_lost: Annotated[float, typer.Option(min=0, max=1, help="True loss on utility and protected sets.")] = 0.0,
    min_uplift: Annotated[float, typer.Option(min=0, max=1, help="Gate: what the lower bound must reach.")] = 0.1,
    max_loss: Annotated[
        float, typer.Option(min=0, max=1, help="Gate: the most that a utility or protected set may lose.")
    ] = 0.1,
) -> None:
    """Say how many test conversations it takes to show an uplift.

    A mask is published if the lower end of its uplift's 95% interval reaches min_uplift, and no utility or protected
    set may have lost more than its limit at the bad end of its own. So what must be shown is the difference between
    the true uplift and min_uplift, and a mask that costs nothing still needs a utility set large enough to show it.
    Each number is found by simulating test splits and putting them through the very interval that the gates use.

    Conversations of one group are not independent: large groups that change together (correlation) need more
    conversations in all. Many small groups are worth more than a few large ones.

    Examples:

      mascing plan --uplift 0.2

      mascing plan --uplift 0.15 --baseline 0.3 --power 0.9 --group-size 2 --correlation 0.1

      mascing plan --uplift 0.3 --lost 0.05 --utility-lost 0.01 --max-loss 0.05
    """
    from rich.console import Console

    from mascing.evidence.planning import Question, answers

    question = Question(
        uplift=uplift,
        baseline=baseline,
        power=power,
        correlation=correlation,
        lost=lost,
        utility_lost=utility_lost,
        min_uplift=min_uplift,
        max_loss=max_loss,
    )
    console = Console()
    sizes = sorted({*_GROUP_SIZES, group_size})
    for line in answers(question, group_size, sizes):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
