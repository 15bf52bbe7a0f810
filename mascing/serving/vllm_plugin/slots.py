"""Masks in slots, beside the layers that they steer: buffers that stay where they are, so that compiled graphs and CUDA
graphs read whatever mask was written last.

Shape suffixes: N token of the step, M slot, L MoE layer, E expert, K selected expert.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from mascing.errors import MaskError
from mascing.masks.mask import Mask
from mascing.masks.override import group_lead, override
from mascing.masks.rules import BiasRule, OverrideRule
from mascing.serving.vllm_plugin.layers import RoutedLayer
from mascing.serving.vllm_plugin.plugin_settings import PluginSettings
from mascing.steering.edits import choice_change_LE


class Slots:
    """The masks of all layers by slot; slot 0 steers nothing.

    ``slot_N`` holds the slot of each token of the step, and ``steered`` the number of those that a mask acts on. Every
    layer adds that to its tally as its logits pass, so a layer that did not steer is seen by its tally.
    ``fixed`` says that graphs are compiled or captured: then every pass must do the same, whatever the step holds.
    """

    def __init__(
        self,
        layers: Sequence[RoutedLayer],
        scoring: str,
        settings: PluginSettings,
        n_tokens: int,
        device: torch.device,
        fixed: bool,
    ) -> None:
        self._layers, self._settings, self._fixed = layers, settings, fixed
        n_slots, n_experts, n_layers = settings.slots + 1, layers[0].n_experts, len(layers)
        self._overrides: set[int] = set()
        self.idle = True
        self.slot_N = torch.zeros(n_tokens, dtype=torch.long, device=device)
        self.steered = torch.zeros((), dtype=torch.long, device=device)
        self.tally_L = [torch.zeros((), dtype=torch.long, device=device) for _ in layers]
        self.ids_LNK = torch.zeros((n_layers, n_tokens, layers[0].top_k), dtype=torch.int32, device=device)
        self._bias_LME = torch.zeros((n_layers, n_slots, n_experts), device=device)
        forced = n_slots if settings.overrides else 0
        self._on_LME = torch.zeros((n_layers, forced, n_experts), dtype=torch.bool, device=device)
        self._off_LME = torch.zeros_like(self._on_LME)
        self._choice_LME = torch.zeros((n_layers, forced, n_experts), device=device)
        self._epsilon_M1 = torch.ones((forced, 1), device=device)
        self.z_LNE = torch.zeros((n_layers, n_tokens if settings.capture else 0, n_experts), device=device)
        self._lead = [group_lead(layer.groups, layer.correction is not None, scoring) for layer in layers]

    @property
    def n_experts(self) -> int:
        """Experts of a layer, E."""
        return self._bias_LME.shape[2]

    def write(self, slot: int, mask: Mask | None) -> None:
        """Put a mask into a slot, in place; None empties it. Raises MaskError if the slot cannot hold its rule."""
        if not 0 < slot < self._bias_LME.shape[1]:
            raise MaskError(f"there is no slot {slot}: slots are 1 to {self._bias_LME.shape[1] - 1}")
        rule = mask.rule if mask is not None else None
        if isinstance(rule, OverrideRule) and not self._settings.overrides:
            raise MaskError("this server was started for masks that add a bias alone: start it with overrides")
        self._bias_LME[:, slot] = rule.bias_LE.to(self._bias_LME.device) if isinstance(rule, BiasRule) else 0.0
        self._overrides.discard(slot)
        if not self._settings.overrides:
            return
        if isinstance(rule, OverrideRule):
            self._overrides.add(slot)
            self._on_LME[:, slot], self._off_LME[:, slot] = rule.activated_LE, rule.deactivated_LE
            self._choice_LME[:, slot] = choice_change_LE(self._layers, rule.activated_LE, rule.deactivated_LE)
            self._epsilon_M1[slot] = rule.epsilon
        else:
            self._on_LME[:, slot] = self._off_LME[:, slot] = False
            self._choice_LME[:, slot], self._epsilon_M1[slot] = 0.0, 1.0

    def edit(self, layer: int, logits: Tensor) -> Tensor:
        """The logits [N, width] of a layer as its experts are selected by; the columns after E are left alone."""
        tokens, n_experts = logits.shape[0], self.n_experts
        wide = logits.shape[1] > n_experts
        z_NE = logits[:, :n_experts] if wide else logits
        if self._settings.capture:
            self.z_LNE[layer, :tokens].copy_(z_NE)
        if self.idle and not self._fixed:
            return logits
        self.tally_L[layer].add_(self.steered)
        slot_N = self.slot_N[:tokens]
        edited_NE = (z_NE + self._bias_LME[layer].index_select(0, slot_N)).to(logits.dtype)
        if self._forces:
            edited_NE = override(
                edited_NE,
                self._on_LME[layer].index_select(0, slot_N),
                self._off_LME[layer].index_select(0, slot_N),
                self._epsilon_M1.index_select(0, slot_N),
                self._lead[layer],
            )
        return torch.cat([edited_NE, logits[:, n_experts:]], dim=1) if wide else edited_NE

    def choice_change(self, layer: int, tokens: int) -> Tensor | None:
        """What overrides add to the corrected scores of the step's tokens, [N, E]; None if there are none."""
        if not self._forces or (self.idle and not self._fixed):
            return None
        return self._choice_LME[layer].index_select(0, self.slot_N[:tokens])

    def selected(self, layer: int, ids_NK: Tensor) -> None:
        """Keep the experts that a layer selected, until the next step."""
        self.ids_LNK[layer, : ids_NK.shape[0]].copy_(ids_NK[:, : self.ids_LNK.shape[2]])

    @property
    def _forces(self) -> bool:
        return self._settings.overrides and (self._fixed or bool(self._overrides))
