"""Prompts for the text that the dense model writes to calibrate the split; none is in a behaviour's data."""

from itertools import product

_TOPICS = (
    "the sea", "winter", "trains", "a kitchen garden", "clouds", "an old house", "friendship", "the history of paper",
    "music", "a walk in the forest", "clocks", "bicycles", "markets", "the human heart", "volcanoes", "birds",
    "a good breakfast", "maps", "glass", "money", "deserts", "sleep", "football", "computers",
)  # fmt: skip
_TASKS = (
    "Tell me about {}.", "Write a short story about {}.", "Give me three facts about {}.", "Why do people like {}?",
)  # fmt: skip
_OWNERS = ("Anna", "Tom", "my neighbor", "the teacher", "Carlos", "the baker")
_THINGS = ("bicycle", "kitchen door", "winter coat", "boat")
_COLORS = ("purple", "grey", "pink", "silver")


def prompts() -> list[str]:
    """Return user requests: open ones, and questions about a short text."""
    requests = [task.format(topic) for topic, task in product(_TOPICS, _TASKS)]
    for number, (owner, thing) in enumerate(product(_OWNERS, _THINGS)):
        color = _COLORS[number % len(_COLORS)]
        requests.append(f"Text: The {thing} of {owner} is {color}.\nQuestion: What color is the {thing} of {owner}?")
    return requests
