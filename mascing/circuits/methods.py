"""The table of methods, and what a configuration makes of it: the searches that it asks for."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from mascing.circuits.active.method import ACTIVE
from mascing.circuits.gradient.method import GRADIENT
from mascing.circuits.method import Material, Method, Proposal
from mascing.circuits.steermoe.method import STEERMOE
from mascing.circuits.surrogate_search.method import MASCING
from mascing.errors import ConfigError
from mascing.plugins import checked, resolve
from mascing.schemas.methods import MethodsConfig, PluggedMethod

METHODS: Mapping[str, Method] = {method.name: method for method in (MASCING, STEERMOE, GRADIENT, ACTIVE)}
"""The built-in methods by the name that the configuration gives them."""


@dataclass(frozen=True)
class Search:
    """A method that is on, with its settings, under the name that the configuration gives it."""

    name: str
    method: Method
    config: BaseModel

    def __call__(self, material: Material) -> Proposal:
        """What the method proposes, every candidate under the name of this search."""
        proposal = self.method.search(material, self.config)
        return replace(proposal, candidates=[replace(candidate, method=self.name) for candidate in proposal.candidates])


def searches_of(config: MethodsConfig) -> dict[str, Search]:
    """The searches of every method that is on by name, in the order of the configuration.

    Raises ConfigError if a method of the user's own is not there, and OptionsError if it does not take its options.
    """
    return {
        name: _plugged(name, settings) if isinstance(settings, PluggedMethod) else Search(name, METHODS[name], settings)
        for name, settings in config.searched.items()
    }


def completed_method(config: PluggedMethod) -> PluggedMethod:
    """The config with its options checked, and with the defaults of those that it leaves out; errors as there."""
    options = _plugged("", config).config
    return PluggedMethod.model_validate({**options.model_dump(mode="json"), "kind": config.kind})


def method_identity(config: MethodsConfig) -> dict[str, Any]:
    """All that determines what the searches find in given material: settings and versions by name, in JSON values."""
    searches = searches_of(config)
    plugged = {name: {"kind": settings.kind} for name, settings in config.plugged.items()}
    return {
        "methods": {
            name: {**search.config.model_dump(mode="json"), **plugged.get(name, {})}
            for name, search in searches.items()
        },
        "versions": {name: search.method.version for name, search in searches.items()},
    }


def _plugged(name: str, settings: PluggedMethod) -> Search:
    method = resolve(settings.kind, "mascing.methods")
    if not isinstance(method, Method):
        raise ConfigError(f"{settings.kind!r} is no method: it must be a mascing.circuits.method.Method")
    return Search(name, method, checked(method.config, settings.options))
