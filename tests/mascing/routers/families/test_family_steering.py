"""Every family steered by both rules, on tiny models of the real class; each test says what it found to the docs."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from mascing.masks.mask import Mask
from mascing.routers.families import ROUTER_CLASSES
from mascing.routers.spec import RouterSpec, inspect_routers
from mascing.steering.steer import steer
from tests.mascing.mask_rules import bias_of, override_of
from tests.mascing.routers.families.family_models import EXPERTS, FAMILIES, IMPLEMENTATIONS, TOP_K, VOCABULARY, build
from tests.mascing.routers.families.outcomes import expect
from tests.mascing.routers.families.selections import captured, largest_weight_difference, mismatches, naive

every_family = pytest.mark.parametrize("name", FAMILIES)


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    """One float32 model a family, built when first asked for; tests leave them as they were."""
    torch.set_num_threads(1)
    return _Models()


class _Models(dict[str, Any]):
    def __missing__(self, name: str) -> Any:
        self[name] = build(name)
        return self[name]


def tokens(rows: int = 2, length: int = 12, seed: int = 0) -> Tensor:
    return torch.randint(3, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(seed))


def a_bias(spec: RouterSpec, seed: int = 0) -> Mask:
    generator = torch.Generator().manual_seed(seed)
    return Mask.from_bias(torch.randn(spec.n_layers, spec.n_experts, generator=generator) * 2, spec)


def an_override(spec: RouterSpec, on: int = 6, off: int = 1) -> Mask:
    """One expert on and one off in every layer."""
    activated, deactivated = torch.zeros(2, spec.n_layers, spec.n_experts, dtype=torch.bool)
    activated[:, on], deactivated[:, off] = True, True
    return Mask.from_override(activated, deactivated, activated.float() - deactivated.float(), spec)


@every_family
def test_routers_are_found_and_described(models: dict[str, Any], name: str) -> None:
    spec = inspect_routers(models[name])
    assert (spec.layer_ids, spec.n_experts, spec.top_k) == (FAMILIES[name].layers, EXPERTS, TOP_K)
    expect(name, "model_type", spec.family)
    expect(name, "class", FAMILIES[name].causal_lm)
    expect(name, "scoring", spec.scoring)


@every_family
def test_the_fingerprint_is_the_same_in_every_supported_transformers(name: str) -> None:
    model = build(name)
    for tensor in (*model.parameters(), *model.buffers()):  # random weights differ between releases
        tensor.detach().fill_(0.5)
    expect(name, "fingerprint", inspect_routers(model).fingerprint)


@pytest.mark.parametrize("name", ROUTER_CLASSES)
def test_routers_are_found_where_transformers_does_not_record_them(
    models: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = inspect_routers(models[name])
    for part in models[name].modules():
        if getattr(part, "_can_record_outputs", None):
            monkeypatch.setattr(part, "_can_record_outputs", {})
    assert inspect_routers(models[name]) == spec


@every_family
def test_a_bias_of_zero_changes_no_bit(models: dict[str, Any], name: str, tmp_path: Path) -> None:
    x = tokens()
    models[name].save_pretrained(tmp_path)
    spec = inspect_routers(models[name])
    dtypes_by_implementation: dict[str, list[str]] = {}
    for dtype in (torch.float32, torch.bfloat16):
        model = type(models[name]).from_pretrained(tmp_path, dtype=dtype)
        assert inspect_routers(model) == spec
        for implementation in IMPLEMENTATIONS if model._can_set_experts_implementation() else ("its own",):
            if implementation != "its own":
                model.set_experts_implementation(implementation)
            with torch.no_grad():
                plain = model(x).logits
                with steer(model, Mask.from_bias(torch.zeros(spec.n_layers, spec.n_experts), spec)):
                    assert torch.equal(model(x).logits, plain)
                with steer(model, a_bias(spec)):
                    assert not torch.equal(model(x).logits, plain)
                assert torch.equal(model(x).logits, plain)
            dtypes_by_implementation.setdefault(implementation, []).append(str(dtype).removeprefix("torch."))
    (dtypes,) = {" and ".join(names) for names in dtypes_by_implementation.values()}
    expect(name, "bias of zero", f"bit-identical in {dtypes}; experts: {', '.join(dtypes_by_implementation)}")


@every_family
def test_a_bias_selects_as_the_definition_says(models: dict[str, Any], name: str) -> None:
    model = models[name]
    spec = inspect_routers(model)
    mask = a_bias(spec)
    total = 0
    with torch.no_grad(), steer(model, mask), captured(model) as layers:
        model(tokens(4))
    with torch.no_grad(), captured(model) as unsteered:
        model(tokens(4))
    for index, layer in enumerate(layers):
        edit = _adding(bias_of(mask)[index].tolist())
        wanted = naive(name, layer, model.config, [edit] * len(layer.selections))
        assert mismatches(layer.selections, wanted) == 0
        assert largest_weight_difference(layer.selections, wanted) < 2e-6
        assert mismatches(unsteered[index].selections, wanted) > 0
        total += len(wanted)
    expect(name, "bias against the definition", f"0 of {total} selections differ")


@every_family
def test_an_override_selects_as_the_definition_says(models: dict[str, Any], name: str) -> None:
    model = models[name]
    mask = an_override(inspect_routers(model))
    rule = override_of(mask)
    total = 0
    with torch.no_grad(), steer(model, mask), captured(model) as layers:
        model(tokens(4))
    for index, layer in enumerate(layers):
        on, off = rule.activated_LE[index].tolist(), rule.deactivated_LE[index].tolist()
        edit = _forcing(on, off, name in SHIFT_SENSITIVE, math.log(2) if name == "mistral4" else 0.0)
        wanted = naive(name, layer, model.config, [edit] * len(layer.selections))
        assert mismatches(layer.selections, wanted) == 0
        assert largest_weight_difference(layer.selections, wanted) < 2e-6
        total += len(wanted)
    scores = "logits" if name in SHIFT_SENSITIVE else "log-softmax scores"
    expect(name, "override against the definition", f"0 of {total} selections differ, by {scores}")


@every_family
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_off_is_never_selected_and_on_always(models: dict[str, Any], name: str, dtype: torch.dtype) -> None:
    model = models[name] if dtype == torch.float32 else build(name, dtype)
    spec = inspect_routers(model)
    with torch.no_grad(), steer(model, an_override(spec, on=6, off=1)), captured(model) as layers:
        model(tokens(8))
    assert [layer.rate(1) for layer in layers] == [0.0, 0.0]
    assert [layer.rate(6) for layer in layers] == [1.0, 1.0]

    bias = torch.zeros(spec.n_layers, spec.n_experts)
    bias[:, 1] = -1e4
    with torch.no_grad(), steer(model, Mask.from_bias(bias, spec)), captured(model) as layers:
        model(tokens(8))
    by_bias = max(layer.rate(1) for layer in layers)
    bounded = any(layer.router.correction_owner is not None for layer in layers)
    assert by_bias == 0.0 or bounded
    if dtype == torch.float32:
        expect(name, "off by the override", "selection rate 0, float32 and bfloat16")
        expect(name, "off by a bias of -1e4", "bounded by the correction" if bounded else "selection rate 0")


@every_family
def test_generation_with_a_cache_equals_the_loop_without(models: dict[str, Any], name: str) -> None:
    model = models[name]
    x = tokens(2, 7)
    for mask in (a_bias(inspect_routers(model)), an_override(inspect_routers(model))):
        with torch.no_grad(), steer(model, mask) as handle:
            generated = model.generate(x, attention_mask=torch.ones_like(x), max_new_tokens=6, **GREEDY)
            counts = set(handle.counters.values())
            loop = x
            for _ in range(6):
                loop = torch.cat([loop, model(loop, use_cache=False).logits[:, -1:].argmax(-1)], 1)
        assert torch.equal(generated, loop)
        assert counts == {2 * (7 + 5)}
    expect(name, "generate with a cache", "equal to the loop without")


@every_family
def test_a_mask_for_each_row_equals_separate_runs(models: dict[str, Any], name: str) -> None:
    model = models[name]
    spec = inspect_routers(model)
    masks = [a_bias(spec), None, an_override(spec)]
    x = tokens(3, 7)
    separate = [_steered(model, mask, lambda row=row: model(x[row : row + 1]).logits) for row, mask in enumerate(masks)]
    with torch.no_grad(), steer(model, masks) as handle:
        together = model(x).logits
        assert set(handle.counters.values()) == {2 * 7}
    torch.testing.assert_close(together, torch.cat(separate), rtol=1e-4, atol=1e-4)

    for how in (GREEDY, BEAMS, SAMPLING):
        copies = how.get("num_return_sequences", 1)
        with steer(model, masks):
            together = _generate(model, x, how)
        for row, mask in enumerate(masks):
            alone = _steered(model, mask, lambda how=how: _generate(model, x, how))
            assert torch.equal(together[row * copies : (row + 1) * copies], alone[row * copies : (row + 1) * copies])
    expect(name, "a mask for each row", "equal to separate runs: forward, greedy, beam search, sampling")


@every_family
def test_a_compiled_model_is_steered_and_reads_a_swapped_mask(models: dict[str, Any], name: str) -> None:
    model = models[name]
    spec = inspect_routers(model)
    x = tokens(1, 2)
    torch._dynamo.reset()
    compiled: Any = torch.compile(model, backend="eager", fullgraph=True, dynamic=False)
    with torch.no_grad():
        if name in NOT_FULLGRAPH_UNTOUCHED:
            with pytest.raises(torch._dynamo.exc.UserError):
                compiled(input_ids=x, use_cache=False)
            expect(name, "torch.compile", "not supported by the family itself")
            return
        plain = model(x, use_cache=False).logits
        with steer(compiled, a_bias(spec, seed=1)) as handle:
            for seed in (1, 2):
                handle.swap(a_bias(spec, seed))
                with torch.compiler.set_stance("fail_on_recompile"):
                    ours = compiled(input_ids=x, use_cache=False).logits
                torch.testing.assert_close(ours, model(x, use_cache=False).logits, rtol=1e-5, atol=1e-5)
                assert not torch.allclose(ours, plain, atol=1e-2)
            assert set(handle.counters.values()) == {4 * 2}
    torch._dynamo.reset()
    expect(name, "torch.compile", "full graph; a swapped mask is read without recompiling")


NOT_FULLGRAPH_UNTOUCHED = ("dbrx", "longcat_flash")
"""Families whose experts loop over a number of experts that depends on data."""
GREEDY: dict[str, Any] = {"do_sample": False, "eos_token_id": None}
BEAMS: dict[str, Any] = {"num_beams": 3, "num_return_sequences": 2, **GREEDY}
SAMPLING: dict[str, Any] = {"do_sample": True, "num_return_sequences": 2, "eos_token_id": None}
SHIFT_SENSITIVE = (
    *("deepseek_v3", "glm4_moe", "dots1", "minimax_m2", "axk2", "lfm2_moe", "llama4_text", "phimoe"),
    *("inkling_text", "longcat_flash"),
)
"""Families whose weights change if the logits of a token's experts shift (the last two have other logits beside them),
so that the rule is stated on the logits themselves."""


def _generate(model: Any, x: Tensor, how: dict[str, Any]) -> Tensor:
    transformers.set_seed(0)
    generated: Tensor = model.generate(x, attention_mask=torch.ones_like(x), max_new_tokens=4, **how)
    return generated


def _steered(model: Any, mask: Mask | None, run: Any) -> Any:
    with torch.no_grad():
        if mask is None:
            return run()
        with steer(model, mask):
            return run()


def _adding(bias: Sequence[float]) -> Any:
    def edit(logits: list[float], correction: list[float]) -> tuple[list[float], list[float]]:
        return [z + b for z, b in zip(logits, bias, strict=True)], correction

    return edit


def _forcing(on: Sequence[bool], off: Sequence[bool], shift_sensitive: bool, lead: float, epsilon: float = 1e-2) -> Any:
    """SteerMoE's rule as the paper has it: on log-softmax scores. Forced experts also win or lose any correction.

    ``lead`` is what it takes beyond the paper's rule to keep a group whose score is the sum of its best two experts.
    """

    def edit(logits: list[float], correction: list[float]) -> tuple[list[float], list[float]]:
        shift = 0.0 if shift_sensitive else math.log(sum(math.exp(z) for z in logits))
        scores = [z - shift for z in logits]
        above, below = max(scores) + epsilon + lead, min(scores) - epsilon
        forced = [above if on[e] else below if off[e] else score for e, score in enumerate(scores)]
        return forced, [c + 1e4 * on[e] - 1e4 * off[e] for e, c in enumerate(correction)]

    return edit
