"""Parse YAML strictly, and in a time that its size bounds. Every error says where the mistake is."""

import re
from collections.abc import Hashable
from typing import Any

import yaml

from mascing.errors import ConfigError

LIMIT = 500_000
"""Bytes of a file, and characters that it stands for: three seconds to parse, and a hundred times what files need."""

TOO_LARGE = f"is larger than {LIMIT / 1e6:g} MB, which no configuration needs: name data as a file of its own"

_TEXT, _MERGED = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"


def parse_yaml(text: str, name: str) -> Any:
    """The value of a YAML text. Raises ConfigError, which begins with its ``name``, where it is none or too large."""
    if len(text) > LIMIT:
        raise ConfigError(f"{name} {TOO_LARGE}")
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise ConfigError(f"{name} is not valid YAML: {where}{problem}") from error
    except (RecursionError, ValueError) as error:
        raise ConfigError(f"{name} is not valid YAML: {error}") from error


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML that rejects duplicate keys and bombs of aliases.

    It takes a key as it is written and reads 1e-5 as a number; YAML 1.1 takes the key ``yes`` for true, and reads 1e-5
    as text.
    """

    def get_single_node(self) -> yaml.Node | None:
        """The document before its aliases are followed."""
        node: yaml.Node | None = super().get_single_node()
        if node is not None and _characters(node, {}) > LIMIT:
            raise yaml.composer.ComposerError(
                None, None, f"its aliases (`*name`) stand for more than {LIMIT / 1e6:g} MB: use fewer", node.start_mark
            )
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """A mapping whose keys are text."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGED:
                key.tag = _TEXT
        return node

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


def _characters(node: yaml.Node, known: dict[yaml.Node, int]) -> int:
    """How many characters a node stands for, with each alias written out; ``known`` are those that were counted."""
    if isinstance(node, yaml.ScalarNode):
        return max(1, len(node.value))
    if node not in known:
        known[node] = 1  # of an alias inside of what it stands for
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [each for pair in node.value for each in pair]
        known[node] += sum(_characters(each, known) for each in nodes)
    return known[node]
