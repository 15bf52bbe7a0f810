"""Which methods an error comes from: a campaign sets them aside and goes on with the others."""

from collections.abc import Iterator
from contextlib import contextmanager

from mascing.errors import StorageError

_NAME = "of_methods"


@contextmanager
def blaming(*methods: str) -> Iterator[None]:
    """Note on whatever the block raises that it comes from these methods; the note travels between processes.

    A storage that fails is no method's fault.
    """
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        if methods:
            error.__dict__.setdefault(_NAME, methods)
        raise


def blamed(error: BaseException) -> tuple[str, ...]:
    """The methods that an error comes from; none if it may have met any."""
    found: tuple[str, ...] = getattr(error, _NAME, ()) or getattr(getattr(error, "cause", None), _NAME, ())
    return found
