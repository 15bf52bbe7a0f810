"""A task of Inspect with its own solvers and scorers, on made-up questions."""

from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes
from inspect_ai.solver import generate, system_message

QUESTIONS = 12
LETTERS = "etaoin"


@task
def letters() -> Task:
    """Whether a reply includes a letter."""
    samples = [
        Sample(id=number, input=f"what of bench {number}?", target=LETTERS[number % len(LETTERS)])
        for number in range(QUESTIONS)
    ]
    return Task(dataset=samples, solver=[system_message("be brief"), generate()], scorer=includes())
