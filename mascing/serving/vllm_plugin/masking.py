"""Masks on one worker of vLLM: installed as its model is loaded, proved before it serves."""

from typing import Any

import torch
from torch import nn

from mascing.errors import SteeringError
from mascing.masks.mask import Mask
from mascing.routers.spec import RouterSpec
from mascing.serving.vllm_plugin.correction import force_selection
from mascing.serving.vllm_plugin.interception import point_for
from mascing.serving.vllm_plugin.layers import RoutedLayer, routed_layers, spec_of
from mascing.serving.vllm_plugin.plugin_settings import PluginSettings
from mascing.serving.vllm_plugin.slots import Slots
from mascing.serving.vllm_plugin.steps import Steps

_FORCED_OFF = -1e4
_TOKENS = 8


class Masking:
    """The masks, the steps and the proof of one model runner."""

    def __init__(self, runner: Any, settings: PluginSettings, layers: list[RoutedLayer], spec: RouterSpec) -> None:
        self.spec, self._runner, self._layers = spec, runner, layers
        compilation = runner.vllm_config.compilation_config
        fixed = bool(compilation.mode) or bool(compilation.cudagraph_mode)
        tokens, device = runner.max_num_tokens, runner.device
        self.slots = Slots(layers, spec.scoring, settings, tokens, device, fixed)
        self.steps = Steps(self.slots, spec.layer_ids)
        self._last_slot = settings.slots
        for number, layer in enumerate(layers):
            point_for(layer, settings.point).install(layer, self._edit_of(number, layer))
            self._watch_selection(number, layer)
            if settings.overrides:
                force_selection(layer, number, self.slots)

    def prove(self) -> None:
        """Prove that every layer steers, by a forward whose most selected expert is forced off in each layer.

        Raises SteeringError if the logits do not pass every layer, or if a layer selects as before.
        """
        if self.steps.proved:
            return
        plain_LNK = self._probed(None)
        favourite_L = plain_LNK.flatten(1).mode(dim=1).values
        bias_LE = torch.zeros(len(self._layers), self.spec.n_experts)
        bias_LE[torch.arange(len(self._layers)), favourite_L] = _FORCED_OFF
        probe = Mask.from_bias(bias_LE, self.spec)
        before = self.steps.steered_by_layer
        steered_LNK = self._probed(probe)
        passed = {layer: now - before[layer] for layer, now in self.steps.steered_by_layer.items()}
        if set(passed.values()) != {_TOKENS}:
            raise SteeringError(
                f"a forward of {_TOKENS} tokens was steered on {passed} tokens by layer: masks do not act"
            )
        same = [
            layer.name
            for layer, was, now in zip(self._layers, plain_LNK, steered_LNK, strict=True)
            if torch.equal(was.sort(dim=1).values, now.sort(dim=1).values)
        ]
        if same:
            raise SteeringError(f"{', '.join(same)} selects the same experts with a mask as without: masks do not act")
        self.steps.proved = True

    def _probed(self, mask: Mask | None) -> torch.Tensor:
        """The selections [L, N, K] of a forward of a few tokens, all under the mask."""
        self.slots.write(self._last_slot, mask)
        try:
            self.steps.probe(_TOKENS, self._last_slot if mask is not None else 0)
            # Without its metadata attention hands over whatever its memory holds, which may be no number.
            self._runner.plain_dummy_run(_TOKENS, force_attention=True)
            return self.slots.ids_LNK[:, :_TOKENS].cpu().long()
        finally:
            self.steps.idle()
            self.slots.write(self._last_slot, None)

    def _edit_of(self, number: int, layer: RoutedLayer) -> Any:
        def edit(logits: torch.Tensor) -> torch.Tensor:
            if logits.shape[-1] != layer.width:
                raise SteeringError(
                    f"{layer.name} has {logits.shape[-1]} router logits a token and not {layer.width}: this version of "
                    "vLLM hands over something else there"
                )
            return self.slots.edit(number, logits)

        return edit

    def _watch_selection(self, number: int, layer: RoutedLayer) -> None:
        router = layer.runner.router
        before = router.capture_fn

        def selected(ids_NK: torch.Tensor) -> None:
            if before is not None:
                before(ids_NK)
            self.slots.selected(number, ids_NK)

        router.set_capture_fn(selected)


def load_with_masks(runner: Any, settings: PluginSettings, load: Any) -> None:
    """Load the runner's model by ``load``, and install masks on it."""
    from vllm.model_executor.model_loader import base_loader

    found: list[tuple[list[RoutedLayer], RouterSpec]] = []
    process = base_loader.process_weights_after_loading

    def read_then_process(model: nn.Module, model_config: Any, *args: Any) -> None:
        layers = routed_layers(runner.vllm_config, model)
        found.append((layers, spec_of(layers, model_config)))
        process(model, model_config, *args)

    # Afterwards the routers' weights lie as the kernels want them, and no longer as in the checkpoint.
    base_loader.process_weights_after_loading = read_then_process
    try:
        load()
    finally:
        base_loader.process_weights_after_loading = process
    if not found:
        raise SteeringError("vLLM loaded the model in a way that the plugin does not see: masks cannot be installed")
    runner.mascing = Masking(runner, settings, *found[0])
