"""Read a YAML file strictly. Every error says where the mistake is."""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from mascing.errors import ConfigError, DataError
from mascing.storage.sealing import check_text


def read_yaml(path: str) -> Any:
    """The value of a YAML file. Raises ConfigError, which says where it is none."""
    return _parse(_read(path), path)


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
        data = Path(path).read_bytes()
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


def _parse(text: str, path: str) -> Any:
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise ConfigError(f"{path} is not valid YAML: {where}{problem}") from error
    except (RecursionError, ValueError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML that rejects duplicate keys and reads 1e-5 as a number; YAML 1.1 reads it as text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Build a mapping and reject duplicate keys."""
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is given more than once", key.start_mark
                )
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep)


_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)
