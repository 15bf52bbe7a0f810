"""A behaviour that a run takes from the catalogue, as an ordinary one: its sources, its judges and its gates."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from mascing.catalogue.entries import Reader, entry, is_shipped
from mascing.catalogue.safeguards import (
    refuse_changed_guard,
    refuse_fewer_rows,
    refuse_looser,
    stricter,
    with_guards_judged,
)
from mascing.errors import ConfigError
from mascing.schemas.catalogue.catalogue_entry import CatalogueEntry, Chosen, Companion
from mascing.schemas.catalogue.sources import FILE_FORMATS, DatasetConfig, Role, SourceConfig
from mascing.validation import complaints

_WITHOUT_A_SET = {"utility": {"kind": "contains"}, "protected": {"kind": "refusal"}}
"""Judges of the kinds of which a run has no set: needed, and never asked."""


@dataclass(frozen=True)
class Member:
    """An entry with its part in a run, and what the run changes of it."""

    entry: CatalogueEntry
    asked: Companion
    role: Role

    @property
    def set(self) -> str:
        """The set that its conversations make."""
        return "target" if self.role == "target" else f"{self.role}/{self.entry.name}"


def resolved(value: dict[str, Any], path: str, read: Reader) -> dict[str, Any]:
    """The settings of a run with an ordinary behaviour in place of one that names an entry of the catalogue.

    What ``behaviour`` and ``gates`` say themselves goes before what the entries say, except where an entry is opted in
    to: its guards stay as they are, and its limits may only be tightened. ``path`` is that of the file of the run,
    ``read`` reads YAML. Raises ConfigError, which says what to write.
    """
    behaviour = value.get("behaviour")
    if not isinstance(behaviour, dict) or "catalogue" not in behaviour:
        return value
    try:
        chosen = _chosen(behaviour)
        members = members_of(chosen, os.path.dirname(os.path.abspath(path)), read)
        own = {key: behaviour[key] for key in behaviour if key not in Chosen.model_fields}
        guarded = [each.entry.name for each in _guarded(members)]
        refuse_fewer_rows(guarded, own)
        taken = with_guards_judged(guarded, own, _taken(members))
    except ConfigError as error:
        raise ConfigError(f"behaviour.{error} (in {path})") from error
    for role in ("utility", "protected"):
        if role in behaviour:  # then it judges all sets of its kind
            taken["judges"] = {name: judge for name, judge in taken["judges"].items() if not name.startswith(role)}
    gates = value.get("gates", {})
    if isinstance(gates, dict):
        gates = _gates_with(gates, members, path)
    return {**value, "behaviour": taken, "gates": gates}


def members_of(chosen: Chosen, folder: str, read: Reader) -> list[Member]:
    """The target, its guards, and the others beside it. Raises ConfigError for entries that make no run together."""
    main = Member(_entry("catalogue", chosen, folder, read), chosen, "target")
    if "target" not in main.entry.roles:
        raise ConfigError(f"catalogue: {main.entry.name} can be {_or(main.entry.roles)} only: name it under `beside`")
    own = chosen.beside if chosen.beside is not None else tuple(Companion(catalogue=n) for n in main.entry.beside)
    guarding = [_beside(Companion(catalogue=name), folder, read) for name in main.entry.guarded_by]
    guards = {member.entry.name: member for member in guarding}
    others = {**guards}
    for companion in own:
        member = _beside(companion, folder, read)
        if guard := guards.get(member.entry.name):
            refuse_changed_guard(main.entry, guard.entry, changed=companion != guard.asked)
        others[member.entry.name] = member
    if main.entry.name in others:
        raise ConfigError(f"beside: {main.entry.name} is the target already")
    if main.entry.opt_in:
        _refuse_unasked(main.entry, chosen, others)
    return [main, *others.values()]


def _chosen(behaviour: dict[str, Any]) -> Chosen:
    if "conversations" in behaviour:
        raise ConfigError("conversations: the entry of the catalogue says what is read; give a local copy by `file`")
    asked = {key: behaviour[key] for key in behaviour if key in Chosen.model_fields}
    if isinstance(asked.get("beside"), list):
        asked["beside"] = [{"catalogue": each} if isinstance(each, str) else each for each in asked["beside"]]
    try:
        return Chosen.model_validate_json(json.dumps(asked, default=str), strict=True)
    except ValidationError as error:
        raise ConfigError("; behaviour.".join(complaints(error, Chosen))) from error


def _beside(asked: Companion, folder: str, read: Reader) -> Member:
    found = _entry("beside", asked, folder, read)
    roles = [role for role in found.roles if role != "target"]
    if not roles:
        raise ConfigError(f"beside: {found.name} can only be the target of a run")
    return Member(found, asked, roles[0])


def _entry(field: str, asked: Companion, folder: str, read: Reader) -> CatalogueEntry:
    try:
        return entry(asked.catalogue, read, folder)
    except ConfigError as error:
        raise ConfigError(f"{field}: {error}") from error


def _refuse_unasked(main: CatalogueEntry, chosen: Chosen, others: dict[str, Member]) -> None:
    """Raise ConfigError unless the operator took the entry on, with a protected set of their own."""
    if not chosen.opt_in:
        raise ConfigError(f"opt_in: {main.name} is for operators who decide on it. {main.opt_in} Write `opt_in: true`")
    # What is shipped, nobody chose for this operator.
    own = [
        each
        for each in others.values()
        if each.role == "protected" and (each.asked.file or not is_shipped(each.asked.catalogue))
    ]
    if not own:
        raise ConfigError(
            f"beside: {main.name} needs a protected set of your own beside {_or(main.guarded_by)}, and no entry that "
            "comes with mascing is one: name the file of an entry whose `roles` are [protected], with what the model "
            f"must go on refusing. {main.opt_in}"
        )


def _taken(members: list[Member]) -> dict[str, Any]:
    """The behaviour that the entries make, as a run.yaml would have it."""
    main, *others = members
    judges: dict[str, Any] = {"target": _judge(main), **_WITHOUT_A_SET}
    judges |= {each.role: _judge(each) for each in reversed(others)}  # the first of a kind remains
    return {
        "name": main.entry.name,
        "conversations": [_source(member).model_dump(mode="json", exclude_defaults=True) for member in members],
        **judges,
        "judges": {each.set: _judge(each) for each in others if _judge(each) != judges[each.role]},
    }


def _judge(member: Member) -> dict[str, Any]:
    return member.entry.judge.model_dump(mode="json")


def _source(member: Member) -> SourceConfig:
    found, asked = member.entry, member.asked
    file = asked.file or (found.file if asked.revision is None else None)
    dataset = None if file else _dataset(member)
    return SourceConfig(
        name=found.name,
        file=file,
        dataset=dataset,
        columns=asked.columns or found.columns,
        set=member.set,
        where=found.where,
        rows=asked.rows or found.rows,
        answers=found.answers,
    )


def _dataset(member: Member) -> DatasetConfig:
    found, revision = member.entry, member.asked.revision
    if found.dataset is None:
        raise ConfigError(f"file: {found.name} is not loaded by name: give your copy of it by `file` ({found.page})")
    if revision is None:
        return found.dataset
    if found.dataset.path in FILE_FORMATS:
        raise ConfigError(f"revision: {found.name} is read from {found.dataset.files[0]}: give another copy by `file`")
    return found.dataset.model_copy(update={"revision": revision})


def _gates_with(asked: dict[str, Any], members: list[Member], path: str) -> dict[str, Any]:
    """The run's own gates over the limits of the entries. Raises ConfigError if they loosen those of an opt-in."""
    main = members[0].entry
    if main.opt_in:
        try:
            refuse_looser(main, asked, _gates(_guarded(members)))
        except ConfigError as error:
            raise ConfigError(f"{error} (in {path})") from error
    return {**_gates(members), **asked}


def _guarded(members: list[Member]) -> list[Member]:
    """The target and its guards, which come first."""
    return members[: 1 + len(members[0].entry.guarded_by)]


def _gates(members: list[Member]) -> dict[str, float]:
    """The strictest limits that the entries set."""
    limits: dict[str, float] = {}
    for name, limit in _limits(members):
        limits[name] = stricter(name, limit, limits.get(name, limit))
    return limits


def _limits(members: list[Member]) -> Iterator[tuple[str, float]]:
    return ((name, limit) for member in members for name, limit in member.entry.gates.items())


def _or(names: tuple[str, ...]) -> str:
    return " or ".join(names) or "the others"
