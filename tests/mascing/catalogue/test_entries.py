"""Every entry of the catalogue is complete, and reads the rows that its data set publishes as it says."""

from pathlib import Path
from typing import Any

import pytest

from mascing.catalogue.entries import entry, names
from mascing.catalogue.inputs import inputs_of
from mascing.catalogue.resolving import resolved
from mascing.config import read_yaml
from mascing.conversations.intake.reader import Reading, read_all
from mascing.errors import ConfigError
from mascing.judges.table import JUDGES, cannot_judge
from mascing.schemas.catalogue.sources import DatasetConfig
from mascing.schemas.config import BehaviourConfig
from tests.mascing.catalogue.published_rows import PUBLISHED, Published


def source_of(published: Published, path: str) -> BehaviourConfig:
    """The part of a run that reads the file through the entry."""
    found = entry(published.entry, read_yaml)
    asked: dict[str, Any] = {"catalogue": published.entry, "file": path}
    if published.set == "target":
        own = {"opt_in": True} if found.opt_in else {}
        beside = [str(Path(__file__).with_name("own_protected.yaml"))] if found.opt_in else []
        behaviour = asked | own | {"beside": beside}
    else:
        behaviour = {"catalogue": "tdc2023", "beside": [asked]}
    taken = BehaviourConfig.model_validate(resolved({"behaviour": behaviour}, "run.yaml", read_yaml)["behaviour"])
    assert not isinstance(taken.conversations, str)
    [source] = [each for each in taken.conversations if each.name == published.entry]
    return taken.model_copy(update={"conversations": (source,)})


def test_every_entry_has_rows_here() -> None:
    assert sorted(published.entry for published in PUBLISHED) == names()


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda published: published.entry)
def test_an_entry_reads_the_rows_that_are_published(published: Published, tmp_path: Path) -> None:
    behaviour = source_of(published, str(published.written(tmp_path)))
    read = read_all(Reading(inputs_of(behaviour), behaviour.max_characters))
    first = read.conversations[0]
    assert read.quarantined == []
    assert len(read.conversations) == published.conversations
    assert [message.content for message in first.messages] == list(published.said)
    assert first.set == published.set
    assert first.id.startswith(f"{published.entry}:")
    assert published.group in (None, first.group_id)
    assert first.references == published.references
    judge = behaviour.judge_of(first.set)
    assert judge.kind not in JUDGES or cannot_judge(judge, first) is None


@pytest.mark.parametrize("name", names())
def test_an_entry_says_all_that_a_user_must_know(name: str) -> None:
    found = entry(name, read_yaml)
    assert found.name == name
    assert all((found.about, found.paper, found.page, found.licence, found.checked, found.gates))
    assert (found.commit is None) == bool(found.unpinned)
    assert not found.gated or found.dataset is not None
    if "target" in found.roles:
        assert found.beside
    for other in (*found.beside, *found.guarded_by):
        assert set(entry(other, read_yaml).roles) - {"target"}


def test_what_is_loaded_by_name_can_run_no_code_and_reads_no_pickle() -> None:
    for path in ("pandas", "pickle", "./folder", "/tmp/script.py", "../up"):
        with pytest.raises(ValueError, match="should match pattern"):
            DatasetConfig(path=path, files=("x",))


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no 'harmbnch': did you mean 'harmbench'"):
        entry("harmbnch", read_yaml)
