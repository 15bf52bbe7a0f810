"""Find a choice of a mask that stands where no server reads it: a request that names a mask is never left unsteered."""

from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import unquote

from mascing.errors import MaskError, RequestError
from mascing.serving.choice import MASK, MEMBER, NAMES

ARGUMENTS = "vllm_xargs"
"""The member of a request's body that holds our arguments."""

_DEEPEST = 100

TOO_DEEP = f"the body of a request has no more than {_DEEPEST} lists and objects within each other"
"""No request needs more, and what reads it may recurse."""


def refuse_misplaced(body: Any, query: str = "", headers: Iterable[str] = ()) -> None:
    """Raise MaskError if a request names one of our arguments outside of its ``vllm_xargs``, or has a reply's member.

    ``body`` is its JSON, ``query`` what follows the question mark, ``headers`` the names of its headers. Any letter
    case is ours, and hyphens as underscores. What stands in ``vllm_xargs`` is read by :meth:`Choice.of`. Raises
    RequestError for a body that is nested too deep.
    """
    beside = [("the query string", unquote(query)), *(("a header", header) for header in headers)]
    if isinstance(body, dict) and any(key.casefold() == MEMBER for key in body):
        raise MaskError(f'{MEMBER} is what a reply says; a request asks by "{ARGUMENTS}": {{"{MASK}": ...}}')
    for place, name in _named((*beside, *_keys(body, read=(ARGUMENTS,)))):
        raise MaskError(
            f"{name} is not read in {place or 'the body'}: it belongs in {ARGUMENTS}, at the top of the body: "
            f'"{ARGUMENTS}": {{"{name}": ...}}'
        )


def refuse_nested(arguments: Any) -> None:
    """Raise MaskError if ``SamplingParams.extra_args`` name one of our arguments within another one."""
    for place, name in _named(_keys(arguments, read=())):
        raise MaskError(f'{name} is not read in {place}: it belongs at the top: extra_args={{"{name}": ...}}')


def names_ours(arguments: Any) -> str | None:
    """The first of our arguments that stands in ``SamplingParams.extra_args``, at any depth, or None."""
    return next((name for _, name in _named(_keys(arguments))), None)


def _named(keys: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Of keys with their places, those that are arguments of ours: the place and the argument."""
    for place, key in keys:
        spelt = key.casefold().replace("-", "_")
        yield from ((place, name) for name in NAMES if name in spelt)


def _keys(body: Any, read: tuple[str, ...] | None = None) -> Iterator[tuple[str, str]]:
    """The keys of all objects in the JSON, each with where it stands, but of the object at the path ``read``."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((), body)] if isinstance(body, dict) else []
    while waiting:
        path, value = waiting.pop()
        if len(path) >= _DEEPEST:
            raise RequestError(TOO_DEEP)
        members = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in members:
            if isinstance(value, dict) and path != read:
                yield ".".join(path), str(key)
            if isinstance(inner, dict | list):
                waiting.append(((*path, str(key)), inner))
