"""Read a YAML file strictly. Every error says where the mistake is."""

from pathlib import Path
from typing import Any

from mascing.errors import ConfigError, DataError
from mascing.storage.sealing import check_text
from mascing.strict_yaml import LIMIT, TOO_LARGE, parse_yaml


def read_yaml(path: str) -> Any:
    """The value of a YAML file. Raises ConfigError, which says where it is none."""
    return parse_yaml(_read(path), path)


def read_mapping(path: str, keys: str, needs: str) -> dict[str, Any]:
    """The mapping of a YAML file. Raises ConfigError with what it ``needs``, or the ``keys`` that it must have."""
    value = read_yaml(path)
    if value is None:
        raise ConfigError(f"{path} is empty: {needs}")
    if not isinstance(value, dict):
        raise ConfigError(f"{path} must hold a mapping with the keys {keys}, not {type(value).__name__}")
    return value


def _read(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            data = file.read(LIMIT + 1)
        if len(data) > LIMIT:
            raise ConfigError(f"{path} {TOO_LARGE}")
        check_text(data, path, "restore it, or delete its last line if you edited it")
        return data.decode("utf-8-sig")
    except DataError as error:
        raise ConfigError(str(error)) from error
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such file: give the path of a run configuration (YAML)") from error
    except IsADirectoryError as error:
        raise ConfigError(f"{path} is a folder: give the path of a run configuration (YAML)") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text: a run configuration is a YAML file") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({error}): check the path and its permissions") from error
