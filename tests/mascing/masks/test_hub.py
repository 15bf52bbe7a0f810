"""Masks to and from the hub, over HTTP with a small hub on this machine (`hub_server`)."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mascing.errors import MaskError
from mascing.masks.mask import Mask
from mascing.schemas.cards.mask_card import MaskCard
from mascing.schemas.result import Baseline, MethodResult, Rate
from tests.hub_server import Hub, running_hub
from tests.mascing.masks.combining.test_arithmetic import a_mask


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as hub:
        yield hub


def asked(hub: Hub, home: Path, script: str) -> list[str]:
    """What the script prints, in a process of its own: huggingface_hub reads its settings when it is imported."""
    place = {"HF_ENDPOINT": hub.url, "HF_HOME": str(home / "hf")}
    settings = {**place, "HF_TOKEN": "hf_made_up", "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    frame = f"""
import torch
from mascing.errors import MaskError
from mascing.masks.mask import Mask
from tests.mascing.masks.combining.test_arithmetic import a_mask

def refused(action):
    try:
        action()
    except MaskError as error:
        print("refused:", " ".join(str(error).split()))

mask = a_mask()
{script}
"""
    done = subprocess.run(
        [sys.executable, "-c", frame], capture_output=True, text=True, check=False, env={**os.environ, **settings}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def files(hub: Hub, repo: str, branch: str = "main") -> dict[str, bytes]:
    return hub.commits[hub.branches[repo][branch]]


def test_a_mask_goes_to_the_hub_and_comes_back(hub: Hub, tmp_path: Path) -> None:
    mask = a_mask()
    card = tmp_path / "card.json"
    card.write_text(_card(mask).model_dump_json())
    said = asked(
        hub,
        tmp_path,
        f"""
print(mask.push_to_hub("someone/defence", card={str(card)!r}, base_model="someone/moe"))
first = Mask.from_hub("someone/defence")
print(first == mask)
(mask * 0.5).push_to_hub("someone/defence", revision="half")
print(Mask.from_hub("someone/defence", "half") == mask * 0.5, Mask.from_hub("someone/defence") == mask)
(mask * 2).push_to_hub("someone/defence")
print(Mask.from_hub("someone/defence") == mask * 2)
refused(lambda: (mask * 0.5).push_to_hub("someone/defence", card={str(card)!r}))
refused(lambda: mask.push_to_hub("someone/defence", card="nowhere.json"))
refused(lambda: Mask.from_hub("someone/else"))
refused(lambda: Mask.from_hub("someone/defence", "v9"))
refused(lambda: Mask.from_hub("no repository at all"))
refused(lambda: Mask.from_hub(7))
""",
    )
    assert said[0].startswith(f"{hub.url}/someone/defence/commit/")
    assert said[1:4] == ["True", "True True", "True"]
    assert "is another mask's" in said[4]
    assert "nowhere.json is not the card.json of a published mask" in said[5]
    assert "Repository Not Found" in said[6]
    assert "Revision Not Found" in said[7]
    assert "no mask can be read from no repository at all" in said[8]
    assert "repo_id must be a str, not int" in said[9]
    assert sorted(files(hub, "someone/defence")) == ["README.md", "card.json", "mask.safetensors"]
    assert Mask.from_bytes(files(hub, "someone/defence", "half")["mask.safetensors"]) == mask * 0.5


def test_the_model_card_says_what_was_measured_and_how_to_use_it(hub: Hub, tmp_path: Path) -> None:
    mask = a_mask()
    card = tmp_path / "card.json"
    card.write_text(_card(mask).model_dump_json())
    script = f"""
mask.push_to_hub("someone/judged", card={str(card)!r}, base_model="someone/moe")
mask.push_to_hub("someone/unjudged")
"""
    asked(hub, tmp_path, script)
    judged, unjudged = (files(hub, repo)["README.md"].decode() for repo in ("someone/judged", "someone/unjudged"))
    metadata = yaml.safe_load(judged.split("---")[1])
    assert metadata["library_name"] == "mascing"
    assert metadata["base_model"] == "someone/moe"
    assert metadata["mascing"]["digest"] == mask.digest
    assert "| target | 40.0% (30.0% to 50.0%, n = 100) | 90.0% (80.0% to 95.0%, n = 100) |" in judged
    assert "| utility/facts | 100.0% (95.0% to 100.0%, n = 100) |" in judged
    assert "Gates: fail (protected: no rows)" in judged
    assert 'mascing.Mask.from_hub("someone/judged")' in judged
    assert "Nothing is known here of what this mask does" in unjudged
    assert "base_model" not in unjudged
    assert list(files(hub, "someone/unjudged")) == ["mask.safetensors", "README.md"]


def test_a_hub_that_is_not_there_is_a_mask_error(tmp_path: Path) -> None:
    said = asked(Hub(url="http://127.0.0.1:9"), tmp_path, 'refused(lambda: mask.push_to_hub("someone/defence"))')
    assert len(said) == 1
    assert said[0].startswith("refused: the mask cannot be pushed to someone/defence")


def _card(mask: Mask) -> MaskCard:
    before, kept, nothing = _rate(0.4, 0.3, 0.5), {"facts": _rate(1.0, 0.95, 1.0)}, _rate(0.0, 0.0, 0.05)
    result = MethodResult(
        selected={"alpha": 1.5},
        target_rate=_rate(0.9, 0.8, 0.95),
        uplift=_rate(0.5, 0.4, 0.6),
        utility=kept,
        protected={},
        degenerate={},
        degenerate_change=nothing,
        circuit_precision=None,
        gate="fail",
        reasons=("protected: no rows",),
    )
    return MaskCard(
        model="moe",
        model_fingerprint="0" * 64,
        behaviour="defence",
        method="gradient",
        selected={"alpha": 1.5},
        data={},
        baseline=Baseline(target_rate=before, utility=kept, protected={}, degenerate={}),
        result=result,
        labels=None,
        robustness={},
        gates={},
        mask_digest=mask.digest,
    )


def _rate(value: float, low: float, high: float) -> Rate:
    return Rate(value=value, low=low, high=high, n=100, unscored=0)


@pytest.mark.parametrize("wrong", [{"card": 3}, {"base_model": 3}, {"revision": 3}, {"private": "yes"}, {"token": 3}])
def test_arguments_of_another_type_are_refused_by_name(wrong: Any) -> None:
    mask = a_mask()
    (name,) = wrong
    with pytest.raises(MaskError, match=f"{name} must be a "):
        mask.push_to_hub("someone/defence", **wrong)
    if name in ("revision", "token"):
        with pytest.raises(MaskError, match=f"{name} must be a "):
            Mask.from_hub("someone/defence", **wrong)
