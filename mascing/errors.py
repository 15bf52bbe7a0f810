"""The library's errors. Each message says what to do next."""


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its type if it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


class MascingError(Exception):
    """Base of every error that a user can act on."""


class ConfigError(MascingError):
    """A configuration that cannot be run as written."""


class DataError(MascingError):
    """Conversations, traces or replies that cannot be used."""


class LogitsError(DataError):
    """What a model or its routers give as logits and is none, such as NaN: its fault if it gives nothing else."""


class ModelError(MascingError):
    """A model that cannot be loaded or whose routers cannot be tapped."""


class MaskError(MascingError):
    """A file that is not a mask, or a mask that does not fit the model."""


class SteeringError(MascingError):
    """Steering that could not be proved to take effect."""


class StorageError(MascingError):
    """A storage URL that cannot be read or written."""


class DamagedError(StorageError):
    """Stored bytes that are not there or not those that were written; trying again does not help."""


class ConflictError(StorageError):
    """Another writer committed different content under the same name."""


class ServerError(MascingError):
    """A server that every run needs, such as Ray's, and that cannot be had: it does not start, or answers no more."""


class EndpointError(MascingError):
    """An endpoint from which nothing more can be had: a wrong key, address or model, or nobody who answers."""


class BudgetError(EndpointError):
    """A request that was not sent because it could take more than the budget."""


class RequestError(EndpointError):
    """One request that the endpoint does not answer, while it answers others: judges count it as unscored."""
