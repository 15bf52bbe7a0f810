"""A mask on siblings of its model: a fine-tune, a copy in fewer bits, and models that are no relatives."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mascing.cli import main
from mascing.errors import MaskError
from mascing.masks.mask import Mask
from mascing.masks.unproven import why_unproven
from mascing.routers.spec import find_routers, inspect_routers
from mascing.schemas.config import ModelConfig
from mascing.schemas.conversation import Conversation
from mascing.steering.siblings.probes import agreement, rates
from mascing.steering.siblings.transfer import LEAST_PROBES, Transfer, told, transferred, verdict
from tests.mascing import olmoe_folder

PROBES = [
    olmoe_folder.conversation(f"p{number}", f"How do I bake bread number {number}?") for number in range(LEAST_PROBES)
]


def fine_tuned(model: nn.Module, step: float) -> None:
    """Move every weight by a share of its own spread, as further training would."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(step * weight.std().nan_to_num() * torch.randn_like(weight))


def in_eight_bits(model: nn.Module) -> None:
    """Round what a quantised checkpoint stores rounded: all linear layers but the routers."""
    routers = {id(router.weight) for router in find_routers(model)}
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1 and id(weight) not in routers:
                step = weight.abs().amax(-1, keepdim=True) / 127
                weight.copy_((weight / step).round() * step)


@pytest.fixture(scope="module")
def sibling(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., ModelConfig]:
    def save(change: Callable[[nn.Module], None] = lambda model: None, **sizes: Any) -> ModelConfig:
        folder = tmp_path_factory.mktemp("model")
        model = olmoe_folder.model(**sizes)
        change(model)
        model.save_pretrained(folder)
        olmoe_folder.tokenizer().save_pretrained(folder)
        return ModelConfig(path=str(folder))

    return save


@pytest.fixture(scope="module")
def own(sibling: Callable[..., ModelConfig]) -> ModelConfig:
    return sibling()


@pytest.fixture(scope="module")
def mask() -> Mask:
    bias_LE = torch.zeros(3, 8)
    bias_LE[0, 2], bias_LE[1, 5], bias_LE[2, 0] = 3.0, -3.0, 3.0
    return Mask.from_bias(bias_LE, inspect_routers(olmoe_folder.model()), {"method": "gradient"})


def report(mask: Mask, sibling: ModelConfig, own: ModelConfig | None, probes: list[Conversation] = PROBES) -> Transfer:
    return transferred(mask, sibling, own, probes)


def test_a_copy_in_fewer_bits_is_followed_and_needs_no_other_mask(
    mask: Mask, own: ModelConfig, sibling: Callable[..., ModelConfig]
) -> None:
    found = report(mask, sibling(in_eight_bits), own)
    assert found.same_routers
    assert (found.answer, found.low) == ("follows", [])
    assert found.measures["routers"] == pytest.approx(1)
    assert 0.95 < found.measures["selections"] < 1  # its hidden states are others
    assert "the mask fits as it is" in "\n".join(told(found))
    assert "no proof of the behaviour" in verdict(found)


def test_a_light_fine_tune_is_followed_and_a_heavy_one_is_not(
    mask: Mask, own: ModelConfig, sibling: Callable[..., ModelConfig]
) -> None:
    light = report(mask, sibling(lambda model: fine_tuned(model, 0.01)), own)
    heavy = report(mask, sibling(lambda model: fine_tuned(model, 0.6)), own)
    assert light.answer == "follows"
    assert not light.same_routers
    assert heavy.answer == "differs"
    assert "selections" in heavy.low
    assert verdict(heavy).startswith("do not trust the mask here")
    assert all(heavy.measures[name] < light.measures[name] for name in light.measures)
    assert light.rebased.spec.fingerprint != mask.spec.fingerprint
    assert torch.equal(light.rebased.rule.signed_LE, mask.rule.signed_LE)
    assert "not judged there" in (why_unproven(light.rebased) or "")


def test_the_own_model_is_compared_with_itself_exactly(mask: Mask, own: ModelConfig) -> None:
    found = report(mask, own, own)
    assert found.measures == pytest.approx(dict.fromkeys(("routers", "selections", "moves", "effect"), 1.0), abs=1e-3)
    assert found.own is not None
    assert found.sibling is not None
    assert (found.own.kl, found.own.replaced) == (found.sibling.kl, found.sibling.replaced)
    assert found.own.kl > 0
    assert found.own.replaced > 0


def test_without_the_own_model_nothing_is_shown(mask: Mask, sibling: Callable[..., ModelConfig]) -> None:
    found = report(mask, sibling(lambda model: fine_tuned(model, 0.01)), None)
    assert found.answer == "unknown"
    assert found.measures == {}
    assert "give that model by --from" in verdict(found)


def test_on_next_to_nothing_nothing_is_decided(mask: Mask, own: ModelConfig) -> None:
    found = report(mask, own, own, PROBES[: LEAST_PROBES - 1])
    assert (found.answer, list(found.measures)) == ("unknown", ["routers"])
    assert f" of {LEAST_PROBES - 1} probes decide nothing: give 32 probes or more" in verdict(found)


def test_a_mask_that_moves_nothing_is_told_apart_from_a_model_that_differs(mask: Mask, own: ModelConfig) -> None:
    with pytest.raises(MaskError, match="the mask has no entries"):
        report(Mask.from_bias(torch.zeros(3, 8), mask.spec), own, own)
    found = report(Mask.from_bias(torch.full((3, 8), 1e-9), mask.spec), own, own)
    assert found.answer == "unknown"
    assert "it changes no selection rate of these probes" in verdict(found)


def others(model: nn.Module) -> None:
    torch.manual_seed(2)
    with torch.no_grad():
        for router in find_routers(model):
            router.weight.normal_()


@pytest.mark.parametrize(
    ("change", "sizes", "said"),
    [
        (others, {}, "a stranger: its router weights have a cosine of"),
        (lambda model: None, {"num_experts": 4}, "its n_experts is 4"),
        (lambda model: None, {"num_hidden_layers": 2}, "its layer_ids is"),
        (lambda model: None, {"num_experts_per_tok": 3}, "its top_k is 3"),
    ],
)
def test_a_stranger_is_refused(
    mask: Mask,
    own: ModelConfig,
    sibling: Callable[..., ModelConfig],
    change: Callable[[nn.Module], None],
    sizes: dict[str, Any],
    said: str,
) -> None:
    with pytest.raises(MaskError, match=said):
        report(mask, sibling(change, **sizes), own, [])


def test_selections_are_compared_as_sets_and_counted() -> None:
    one_TLK, other_TLK = torch.tensor([[[0, 1]], [[2, 3]]]), torch.tensor([[[1, 0]], [[2, 4]]])
    assert agreement(one_TLK, other_TLK) == 0.75
    assert rates(one_TLK, 4).tolist() == [[0.5, 0.5, 0.5, 0.5]]
    assert rates(other_TLK, 4).tolist() == [[0.5, 0.5, 0.5, 0.0]]  # 4 stands for no expert


def test_the_command_says_whether_to_trust_and_writes_a_mask_that_fits(
    mask: Mask,
    own: ModelConfig,
    sibling: Callable[..., ModelConfig],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given, rows, out = tmp_path / "mask.safetensors", tmp_path / "rows.jsonl", tmp_path / "rebased.safetensors"
    mask.save(given)
    rows.write_text("".join(f"{probe.model_dump_json()}\n" for probe in PROBES))
    there = sibling(lambda model: fine_tuned(model, 0.01)).path
    command = ["mask", "transfer", str(given), "--to", there]
    assert main([*command, "--out", str(out)]) == 1
    assert "name the mask's own model by --from" in capsys.readouterr().err
    assert main([*command, "--from", own.path]) == 1
    assert "no: nothing shows" in capsys.readouterr().out
    assert main([*command, "--from", own.path, "--conversations", str(rows), "--out", str(out)]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith("ok: the mask moves the routing")
    assert f" tokens of {LEAST_PROBES} probes. " in said
    assert main(["mask", "verify", str(out), "--model", there]) == 0
    assert main(["mask", "transfer", str(given), "--to", own.path, "--from", there]) == 1
    assert "--from is not the model that the mask was made for" in capsys.readouterr().err
