"""What an entry that is opted in to keeps, whatever the run says: its guards as they are shipped, and its limits."""

from collections.abc import Mapping, Sequence
from typing import Any

from mascing.errors import ConfigError
from mascing.schemas.catalogue.catalogue_entry import CatalogueEntry
from mascing.schemas.config import BehaviourConfig


def refuse_changed_guard(main: CatalogueEntry, guard: CatalogueEntry, changed: bool) -> None:
    """Raise ConfigError if an entry beside ``main`` that has the name of a guard is not the guard as it is shipped."""
    if changed:
        raise ConfigError(
            f"beside: {main.name} is guarded by {guard.name} as it is shipped: it takes no file, columns, revision or "
            "rows of yours, and no entry of yours may have its name. Leave it out; it is there anyway"
        )


def with_guards_judged(guarded: Sequence[str], own: Mapping[str, Any], taken: dict[str, Any]) -> dict[str, Any]:
    """The behaviour of the entries with what the run says itself, where no guard gets another judge.

    ``guarded`` are the names of the target and of its guards. Raises ConfigError if the run names the judge of
    a guard, or one of all protected sets.
    """
    behaviour = {**taken, **own}
    judges = behaviour["judges"]
    main, *names = guarded
    if not names or not isinstance(judges, dict):
        return behaviour
    guards = {f"protected/{name}" for name in names}
    named = [*sorted(f"judges.{name}" for name in guards & own.get("judges", {}).keys()), *({"protected"} & own.keys())]
    if named:
        raise ConfigError(
            f"{named[0]}: {' and '.join(names)} keep their judges beside {main}: name the judge of your "
            "own protected set in its entry, or by `judges: {protected/NAME: ...}`"
        )
    return {**behaviour, "judges": judges | {name: taken["judges"][name] for name in guards & taken["judges"].keys()}}


def refuse_fewer_rows(guarded: Sequence[str], own: Mapping[str, Any]) -> None:
    """Raise ConfigError if the run would set aside rows of a guard because of their length."""
    main, *names = guarded
    asked, limit = own.get("max_characters"), BehaviourConfig.model_fields["max_characters"].default
    if names and isinstance(asked, int) and asked < limit:
        raise ConfigError(
            f"max_characters: {asked} would set aside conversations of {' and '.join(names)}, which guard {main} as "
            f"they are shipped: leave it out, or take {limit} or more"
        )


def refuse_looser(main: CatalogueEntry, gates: Mapping[str, Any], limits: Mapping[str, float]) -> None:
    """Raise ConfigError if the run's ``gates`` are looser than the ``limits`` of the entries."""
    for name, limit in limits.items():
        asked = gates.get(name, limit)
        if not isinstance(asked, int | float):  # the settings refuse it, and say how
            continue
        if stricter(name, asked, limit) != asked:
            raise ConfigError(
                f"gates.{name}: {asked:g} is looser than {limit:g}, the limit of {main.name} and of what guards it: a "
                "run may only tighten it"
            )


def stricter(gate: str, one: float, other: float) -> float:
    """The stricter one of two limits of a gate."""
    return (max if gate.startswith("min_") else min)(one, other)
