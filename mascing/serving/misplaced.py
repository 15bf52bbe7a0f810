"""Find a choice of a mask that stands where no server reads it: a request that names a mask is never left unsteered."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

from mascing.errors import MaskError, RequestError
from mascing.serving.choice import NAMES

ARGUMENTS = "vllm_xargs"
"""The member of a request's body that holds our arguments."""

_DEEPEST = 100

TOO_DEEP = f"the body of a request has no more than {_DEEPEST} lists and objects within each other"
"""No request needs more, and what reads it may recurse."""


def refuse_misplaced(body: Any, query: str = "", headers: Iterable[str] = ()) -> None:
    """Raise MaskError if a request names one of our arguments outside of its ``vllm_xargs``.

    ``body`` is its JSON, ``query`` what follows the question mark, ``headers`` the names of its headers. Any letter
    case is ours, and hyphens as underscores. What stands in ``vllm_xargs`` is read by :meth:`Choice.of`. Raises
    RequestError for a body that is nested too deep.
    """
    places = [("the query string", unquote(query)), *(("a header", header) for header in headers), *_keys(body)]
    for place, key in places:
        spelt = key.casefold().replace("-", "_")
        for name in NAMES:
            if name in spelt:
                raise MaskError(
                    f"{name} is not read in {place}: it belongs into {ARGUMENTS}, at the top of the body: "
                    f'"{ARGUMENTS}": {{"{name}": ...}}'
                )


def _keys(body: Any) -> Iterable[tuple[str, str]]:
    """The keys of all objects in the JSON but of its ``vllm_xargs``, each with where it stands."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((), body)] if isinstance(body, dict) else []
    while waiting:
        path, value = waiting.pop()
        if len(path) >= _DEEPEST:
            raise RequestError(TOO_DEEP)
        members = value.items() if isinstance(value, dict) else ((str(at), one) for at, one in enumerate(value))
        for key, inner in members:
            if isinstance(value, dict) and path != (ARGUMENTS,):
                yield ".".join(path) or "the body", key
            if isinstance(inner, dict | list):
                waiting.append(((*path, key), inner))
