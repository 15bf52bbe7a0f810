"""The proof of a mask on its model."""

import json
from pathlib import Path

import pytest
import torch

from mascing.errors import MaskError, ModelError, SteeringError
from mascing.masks.mask import Mask
from mascing.masks.unproven import marked_unproven
from mascing.routers.spec import RouterSpec, inspect_routers
from mascing.schemas.config import ModelConfig
from mascing.steering.verification import verify_mask
from tests.mascing import olmoe_folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelConfig:
    return ModelConfig(path=str(olmoe_folder.save(tmp_path_factory.mktemp("model"))))


@pytest.fixture(scope="module")
def spec() -> RouterSpec:
    return inspect_routers(olmoe_folder.model())


def save(folder: Path, mask: Mask, digest: str | None) -> str:
    """Write the mask, and a card with ``digest`` beside it if there is one."""
    if digest is not None:
        card = {"mask_digest": digest, "method": "gradient", "behaviour": "defence"}
        (folder / "card.json").write_text(json.dumps(card))
    mask.save(str(folder / "mask.safetensors"))
    return str(folder / "mask.safetensors")


def test_a_published_mask_is_proved(tmp_path: Path, model: ModelConfig, spec: RouterSpec) -> None:
    mask = Mask.from_bias(torch.eye(3, 8), spec)
    card, fits, steers = verify_mask(save(tmp_path, mask, mask.digest), model)
    assert card.said.startswith("is the mask on its card: gradient for defence")
    assert fits.said == "fits the model: 3 MoE layers x 8 experts, same router weights"
    assert steers.said.startswith("steers all of 16 tokens in 3 layers")
    assert card.holds
    assert fits.holds
    assert steers.holds


def test_an_unproven_mask_steers_and_is_said_to_be_unproven(
    tmp_path: Path, model: ModelConfig, spec: RouterSpec
) -> None:
    mask = marked_unproven(Mask.from_bias(torch.eye(3, 8), spec), "it missed target on test")
    *proofs, note = verify_mask(save(tmp_path, mask, mask.digest), model)
    assert all(proof.holds for proof in proofs)
    assert not note.holds
    assert note.said.startswith("unproven: ")
    assert "it missed target on test" in note.said


def test_an_override_is_proved_too(tmp_path: Path, model: ModelConfig, spec: RouterSpec) -> None:
    on = torch.eye(3, 8, dtype=torch.bool)
    mask = Mask.from_override(on, torch.zeros_like(on), torch.zeros(3, 8), spec)
    proofs = list(verify_mask(save(tmp_path, mask, mask.digest), model))
    assert all(proof.holds for proof in proofs)
    assert proofs[-1].said == (
        "forces 3 experts on and 0 off: in a forward of 256 tokens, all select those forced on and none selects one "
        "forced off"
    )


def test_an_override_that_the_model_does_not_follow_is_refused(
    tmp_path: Path, model: ModelConfig, spec: RouterSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mascing.steering.edits.override", lambda logits, *of: logits + 0.1)
    on = torch.eye(3, 8, dtype=torch.bool)
    mask = Mask.from_override(on, torch.zeros_like(on), torch.zeros(3, 8), spec)
    with pytest.raises(SteeringError, match=r"is forced on, but \d+\.\d% of 256 tokens select it"):
        list(verify_mask(save(tmp_path, mask, mask.digest), model))


def test_a_missing_card_is_said(tmp_path: Path, model: ModelConfig, spec: RouterSpec) -> None:
    first, *rest = verify_mask(save(tmp_path, Mask.from_bias(torch.eye(3, 8), spec), None), model)
    assert not first.holds
    assert "no card.json beside the mask" in first.said
    assert all(proof.holds for proof in rest)


def test_a_mask_that_is_not_on_its_card_is_refused(tmp_path: Path, model: ModelConfig, spec: RouterSpec) -> None:
    url = save(tmp_path, Mask.from_bias(torch.eye(3, 8), spec), "0" * 64)
    with pytest.raises(MaskError, match="is not the one on its card"):
        list(verify_mask(url, model))


def test_a_damaged_card_is_refused(tmp_path: Path, model: ModelConfig, spec: RouterSpec) -> None:
    url = save(tmp_path, Mask.from_bias(torch.eye(3, 8), spec), None)
    (tmp_path / "card.json").write_text("{")
    with pytest.raises(MaskError, match=r"card\.json cannot be read"):
        list(verify_mask(url, model))


def test_a_mask_of_another_model_is_refused(tmp_path: Path, model: ModelConfig, spec: RouterSpec) -> None:
    other = RouterSpec.from_json({**spec.to_json(), "fingerprint": "0" * 64})
    with pytest.raises(MaskError, match="made for another model"):
        list(verify_mask(save(tmp_path, Mask.from_bias(torch.eye(3, 8), other), None), model))


def test_an_empty_mask_is_refused(tmp_path: Path, model: ModelConfig, spec: RouterSpec) -> None:
    with pytest.raises(MaskError, match="no entries"):
        list(verify_mask(save(tmp_path, Mask.from_bias(torch.zeros(3, 8), spec), None), model))


def test_a_missing_model_is_refused(tmp_path: Path, spec: RouterSpec) -> None:
    url = save(tmp_path, Mask.from_bias(torch.eye(3, 8), spec), None)
    with pytest.raises(ModelError, match="does not exist"):
        list(verify_mask(url, ModelConfig(path=str(tmp_path / "nowhere"))))
