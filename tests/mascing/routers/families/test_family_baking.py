"""Every family baked: what can be held by the checkpoint equals the steered model, all else is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from mascing.errors import MaskError
from mascing.masks.mask import Mask
from mascing.masks.unproven import marked_unproven
from mascing.routers.spec import RouterSpec, inspect_routers
from mascing.steering import baking
from mascing.steering.baking import bake
from mascing.steering.steer import steer
from tests.mascing.routers.families.family_models import FAMILIES, VOCABULARY, build
from tests.mascing.routers.families.outcomes import expect
from tests.mascing.routers.families.selections import captured

SIGMOID_WITH_CORRECTION = ("deepseek_v3", "glm4_moe", "dots1", "minimax_m2", "inkling_text", "axk2", "lfm2_moe")
SOFTMAX_WITH_CORRECTION = ("ernie4_5_moe", "longcat_flash")


def tokens() -> Tensor:
    return torch.randint(3, VOCABULARY, (4, 12), generator=torch.Generator().manual_seed(0))


def a_bias(spec: RouterSpec) -> Mask:
    bias = torch.randn(spec.n_layers, spec.n_experts, generator=torch.Generator().manual_seed(0))
    return Mask.from_bias(bias, spec, {"method": "made up"})


def an_override(spec: RouterSpec, on: bool = True) -> Mask:
    activated, deactivated = torch.zeros(2, spec.n_layers, spec.n_experts, dtype=torch.bool)
    activated[:, 6], deactivated[:, 1] = on, True
    return Mask.from_override(activated, deactivated, activated.float() - deactivated.float(), spec)


def test_gpt_oss_is_baked_exactly(tmp_path: Path) -> None:
    model = build("gpt_oss")
    spec = inspect_routers(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    bake(model, a_bias(spec), tmp_path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    baked = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    x = tokens()
    with torch.no_grad(), steer(model, a_bias(spec)):
        steered = model(x).logits
        generated = model.generate(x, max_new_tokens=5, do_sample=False)
    torch.testing.assert_close(baked(x).logits, steered, rtol=1e-5, atol=1e-5)
    assert torch.equal(baked.generate(x, max_new_tokens=5, do_sample=False), generated)
    card = json.loads((tmp_path / "baked.json").read_text())
    assert (card["exactness"], card["mask"]) == ("exact", a_bias(spec).digest)
    assert card["provenance"] == {"method": "made up"}
    with pytest.raises(MaskError, match="cannot be baked"):
        bake(model, an_override(spec), tmp_path)
    expect("gpt_oss", "baking", "additive mask: exact")


def test_a_mask_too_strong_for_the_dtype_and_a_folder_that_cannot_be_are_told(tmp_path: Path) -> None:
    model = build("gpt_oss").half()
    spec = inspect_routers(model)
    with pytest.raises(MaskError, match="too strong for the dtype"):
        bake(model, Mask.from_bias(torch.full((spec.n_layers, spec.n_experts), 1e5), spec), tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(MaskError, match="cannot be written"):
        bake(model, a_bias(spec), tmp_path / "file" / "out")


def test_a_mask_of_the_base_is_refused_by_the_baked_model(tmp_path: Path) -> None:
    model = build("gpt_oss")
    mask = a_bias(inspect_routers(model))
    bake(model, mask, tmp_path)
    with pytest.raises(MaskError, match="another model"):
        steer(AutoModelForCausalLM.from_pretrained(tmp_path), mask)


def test_the_folder_says_first_that_a_mask_in_it_is_unproven_and_baking_onto_it_keeps_that(tmp_path: Path) -> None:
    model = build("gpt_oss")
    first, second = tmp_path / "first", tmp_path / "second"
    bake(model, marked_unproven(a_bias(inspect_routers(model)), "it missed target on test"), first)
    once = AutoModelForCausalLM.from_pretrained(first, dtype=torch.float32)
    bake(once, a_bias(inspect_routers(once)), second)
    for folder in (first, second):
        assert (folder / "README.md").read_text().splitlines()[2] == "**Unproven**: it missed target on test"
        assert json.loads((folder / "baked.json").read_text())["unproven"] == "it missed target on test"
    digest = json.loads((first / "baked.json").read_text())["mask"]
    assert f"- baked before: {digest}" in (second / "README.md").read_text().splitlines()
    bake(model, a_bias(inspect_routers(model)), tmp_path / "proven")
    assert "nproven" not in (tmp_path / "proven" / "README.md").read_text()


@pytest.mark.parametrize(
    ("out", "said"),
    [("s3://bucket/baked", "is a URL: bake into a local folder"), (3, "the path of a folder, not 3"), ("", "not ''")],
)
def test_only_a_local_folder_is_baked_into(
    out: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = build("gpt_oss")
    with pytest.raises(MaskError, match=said):
        bake(model, a_bias(inspect_routers(model)), out)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", SIGMOID_WITH_CORRECTION)
def test_a_correction_holds_an_override_for_selection_only_and_the_card_says_so(name: str, tmp_path: Path) -> None:
    model = build(name)
    spec = inspect_routers(model)
    x = tokens()
    bake(model, an_override(spec), tmp_path / "both")
    baked = AutoModelForCausalLM.from_pretrained(tmp_path / "both", dtype=torch.float32)
    with torch.no_grad(), steer(model, an_override(spec)), captured(model) as steered:
        model(x)
    with torch.no_grad(), captured(baked) as ours:
        baked(x)
    # The first MoE layer sees the same inputs in both; later ones see the difference that other weights made.
    chosen = [selection.keys() for selection in ours[0].selections]
    assert chosen == [selection.keys() for selection in steered[0].selections]
    assert all((layer.rate(6), layer.rate(1)) == (1.0, 0.0) for layer in ours)
    card = json.loads((tmp_path / "both" / "baked.json").read_text())
    assert card["exactness"] == "selection only"
    assert "selection only" in (tmp_path / "both" / "README.md").read_text()

    bake(model, an_override(spec, on=False), tmp_path / "off")
    baked = AutoModelForCausalLM.from_pretrained(tmp_path / "off", dtype=torch.float32)
    with torch.no_grad(), steer(model, an_override(spec, on=False)):
        torch.testing.assert_close(baked(x).logits, model(x).logits, rtol=1e-4, atol=1e-4)

    with pytest.raises(MaskError, match="bake an override mask"):
        bake(model, a_bias(spec), tmp_path / "bias")
    assert not (tmp_path / "bias").exists()
    expect(name, "baking", "override mask: selection only (exact if it only switches off)")


@pytest.mark.parametrize("name", SOFTMAX_WITH_CORRECTION)
def test_a_softmax_with_correction_holds_an_override_for_the_forced_experts_only(name: str, tmp_path: Path) -> None:
    model = build(name)
    spec = inspect_routers(model)
    bake(model, an_override(spec), tmp_path)
    baked = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    with torch.no_grad(), captured(baked) as layers:
        baked(tokens())
    assert all((layer.rate(6), layer.rate(1)) == (1.0, 0.0) for layer in layers)
    assert json.loads((tmp_path / "baked.json").read_text())["exactness"] == "forced experts only"
    with pytest.raises(MaskError, match="bake an override mask"):
        bake(model, a_bias(spec), tmp_path / "bias")
    expect(name, "baking", "override mask: forced experts only")


@pytest.mark.parametrize(
    "name", [name for name in FAMILIES if name not in (*SIGMOID_WITH_CORRECTION, *SOFTMAX_WITH_CORRECTION, "gpt_oss")]
)
def test_every_other_family_is_refused(name: str, tmp_path: Path) -> None:
    model: Any = build(name)
    spec = inspect_routers(model)
    for mask in (a_bias(spec), an_override(spec)):
        with pytest.raises(MaskError, match="cannot be baked"):
            bake(model, mask, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    expect(name, "baking", "refused: no parameter can hold a mask")


def test_a_family_that_nobody_described_gets_the_card_of_what_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mascing.routers.spec.SCORING", {})
    for name, exactness in (("glm4_moe", "selection only"), ("ernie4_5_moe", "forced experts only")):
        model = build(name)
        bake(model, an_override(inspect_routers(model)), tmp_path / name)
        card = json.loads((tmp_path / name / "baked.json").read_text())
        assert card["exactness"] == exactness
        assert card["measured"]["tokens"] == 256
        assert (card["measured"]["same_selection"] == 1) == (exactness == "selection only")


def test_a_parameter_that_the_loaded_model_ignores_holds_no_mask(tmp_path: Path) -> None:
    model = build("longcat_flash", router_bias=True)
    with pytest.raises(MaskError, match="its router logits differ from the steered model's by up to"):
        bake(model, a_bias(inspect_routers(model)), tmp_path / "out")
    assert not any(tmp_path.iterdir())


def test_a_correction_that_does_not_force_the_experts_holds_no_mask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build("deepseek_v3")
    monkeypatch.setattr(
        baking, "choice_change_LE", lambda routers, on_LE, off_LE: 0.1 * (on_LE.float() - off_LE.float())
    )
    with pytest.raises(MaskError, match=r"expert \d of model\.layers\.1\.mlp\.gate is not as the mask forces it"):
        bake(model, an_override(inspect_routers(model)), tmp_path / "out")
    assert not any(tmp_path.iterdir())


def test_a_folder_is_never_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("deepseek_v3")
    mask = an_override(inspect_routers(model))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(MaskError, match="bake into a new or empty folder"):
        bake(model, mask, tmp_path / "mine")

    def killed(folder: Path, *of: Any) -> None:
        assert (folder / "model.safetensors").exists()
        assert not (tmp_path / "out").exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(baking, "_write_card", killed)
    with pytest.raises(KeyboardInterrupt):
        bake(model, mask, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
