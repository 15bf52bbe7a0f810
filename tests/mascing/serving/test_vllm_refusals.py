"""What the plugin refuses without a model: configurations that it does not handle, and versions of vLLM that differ."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mascing.errors import ConfigError, SteeringError
from mascing.serving.vllm_plugin.interception import point_for
from mascing.serving.vllm_plugin.plugin_settings import PluginSettings, settings_in
from mascing.serving.vllm_plugin.server import with_masks
from mascing.serving.vllm_plugin.unsupported import refuse_unsupported


def config(**changes: Any) -> SimpleNamespace:
    parallel = {
        "use_sequence_parallel_moe": False,
        "use_ubatching": False,
        "pipeline_parallel_size": 1,
        "decode_context_parallel_size": 1,
        "prefill_context_parallel_size": 1,
    }
    return SimpleNamespace(
        parallel_config=SimpleNamespace(**{name: changes.get(name, value) for name, value in parallel.items()}),
        model_config=SimpleNamespace(enable_sleep_mode=changes.get("enable_sleep_mode", False)),
        speculative_config=changes.get("speculative_config"),
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"use_sequence_parallel_moe": True}, "sequence-parallel MoE"),
        ({"use_ubatching": True}, "dual-batch overlap"),
        ({"pipeline_parallel_size": 2}, "pipeline parallelism"),
        ({"decode_context_parallel_size": 2}, "context parallelism"),
        ({"enable_sleep_mode": True}, "sleep mode"),
        ({"speculative_config": object()}, "speculative decoding"),
    ],
)
def test_what_is_not_handled_is_refused_at_start(changes: dict[str, Any], told: str) -> None:
    refuse_unsupported(config())
    with pytest.raises(SteeringError, match=told):
        refuse_unsupported(config(**changes))


@pytest.mark.parametrize("additional", [None, {}, {"other": {}}, "text"])
def test_without_the_key_the_plugin_is_off(additional: Any) -> None:
    assert settings_in(additional) is None


def test_settings_that_are_malformed_are_told() -> None:
    assert settings_in({"mascing": {"slots": 4}}) == PluginSettings(slots=4)
    with pytest.raises(ConfigError, match="slots: must be greater"):
        settings_in({"mascing": {"slots": 0}})
    with pytest.raises(ConfigError, match="slot"):
        settings_in({"mascing": {"slot": 4}})


class Runner:
    moe_config = SimpleNamespace(dp_size=1, pcp_size=1)

    def _maybe_dispatch(self, hidden_states: Any, router_logits: Any) -> Any:
        return hidden_states, router_logits

    def _apply_quant_method(
        self,
        hidden_states: Any,
        router_logits: Any,
        shared_experts_input: Any,
        input_ids: Any = None,
        shared_experts_overlapping: bool = False,
    ) -> Any:
        return router_logits


class Renamed(Runner):
    def _maybe_dispatch(self, hidden_states: Any, router_logits: Any, input_ids: Any) -> Any:  # type: ignore[override]
        return hidden_states, router_logits


class Strange(Renamed):
    _apply_quant_method = None  # type: ignore[assignment]


def layer(runner: Any, outside: bool = False) -> Any:
    return SimpleNamespace(name="model.layers.0.mlp.experts", runner=runner, routed_outside=outside, gate=None)


def test_the_first_point_that_fits_is_taken() -> None:
    assert point_for(layer(Runner()), None).name == "_maybe_dispatch"
    assert point_for(layer(Runner()), "_apply_quant_method").name == "_apply_quant_method"
    assert point_for(layer(Renamed()), None).name == "_apply_quant_method"
    assert point_for(layer(Runner(), outside=True), None).name == "gate"


def test_a_version_whose_points_differ_is_refused() -> None:
    with pytest.raises(SteeringError, match="it takes hidden_states, router_logits, input_ids") as refused:
        point_for(layer(Renamed()), "_maybe_dispatch")
    assert "use vLLM 0.31.0 to 0.32.0" in str(refused.value)
    with pytest.raises(SteeringError, match="cannot be steered"):
        point_for(layer(Strange()), None)


def test_tokens_of_several_processes_are_not_edited_at_the_second_point() -> None:
    gathered = Renamed()
    gathered.moe_config = SimpleNamespace(dp_size=2, pcp_size=1)
    with pytest.raises(SteeringError, match="several processes were gathered"):
        point_for(layer(gathered), None)


@pytest.mark.parametrize("number", [1, 2])
def test_an_edit_reaches_the_point_and_leaves_other_runners_alone(number: int) -> None:
    runner, other = Runner(), Runner()
    point = point_for(layer(runner), ["_maybe_dispatch", "_apply_quant_method"][number - 1])
    point.install(layer(runner), lambda logits: logits + 1)
    logits = torch.zeros(2, 3)
    passed = (runner._maybe_dispatch(None, logits)[1], runner._apply_quant_method(None, logits, None))
    assert [float(each.sum()) for each in passed] == ([6.0, 0.0] if number == 1 else [0.0, 6.0])
    assert other._maybe_dispatch(None, logits)[1] is logits


def test_a_server_has_the_settings_of_the_user_and_its_own_slots() -> None:
    assert with_masks(None, 3) == {"mascing": {"slots": 3}}
    given = {"other": 1, "mascing": {"overrides": False}}
    assert with_masks(given, 3) == {"other": 1, "mascing": {"overrides": False, "slots": 3}}
    with pytest.raises(ConfigError, match="give --slots"):
        with_masks({"mascing": {"slots": 2}}, 3)
    with pytest.raises(ConfigError, match="overides"):
        with_masks({"mascing": {"overides": False}}, 3)
