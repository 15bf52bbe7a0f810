"""Functions as users write them to be told."""

from typing import Any

HEARD: list[dict[str, Any]] = []


def hear(message: dict[str, Any]) -> None:
    HEARD.append(message)


def fall_over(message: dict[str, Any]) -> None:
    raise RuntimeError("no line")
