"""Put a function in the place of the generation behind the replies of a worker."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from mascing.conversations.reply import Reply
from mascing.engines import transformers_engine


def replies_by(monkeypatch: pytest.MonkeyPatch, complete: Callable[..., Sequence[Reply]]) -> None:
    """Let ``complete``, called as that of ``mascing.engines.generation``, make the replies; all have one mask."""

    def completions(loaded: Any, prompts: Any, masks: Any, *others: Any) -> Iterator[tuple[int, Reply]]:
        return enumerate(complete(loaded, prompts, masks[0], *others))

    monkeypatch.setattr(transformers_engine, "completions", completions)
