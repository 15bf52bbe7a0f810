"""A mask: an edit of one model's router logits, stored with its provenance."""

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from mascing.errors import MaskError, first_line
from mascing.masks.arguments import facts, refuse_other_types, refuse_unstorable
from mascing.masks.experts import bias_of, to_polars
from mascing.masks.groups import group_complaint
from mascing.masks.rules import TENSORS, BiasRule, OverrideRule, Rule, rule_of
from mascing.reachability import read_bytes, told, url_errors, write_bytes
from mascing.routers.spec import RouterSpec, inspect_routers

if TYPE_CHECKING:
    import polars as pl

FORMAT = "mascing-mask-1"

_LARGEST_BYTES = 64 * 10**6
"""Of a file that is read as a mask; those of the largest models have less than a hundredth."""


@dataclass(frozen=True, eq=False, repr=False)
class Mask:
    """A reconfiguration of one model's routers.

    Create it with :meth:`from_experts`, :meth:`from_bias` or :meth:`from_override`; read it with :meth:`load` or
    :meth:`from_hub`. ``rule`` says how the mask edits the router logits of each MoE layer and expert. Two masks are
    equal if their digests are. ``mask * 0.5``, ``-mask`` and ``mask_a + mask_b`` make new bias masks.

    Raises MaskError if the rule's shape differs from the model's [L, E], if it forces more experts than a layer allows,
    and for arguments of another type.
    """

    spec: RouterSpec
    rule: Rule
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        refuse_other_types(RouterSpec, spec=self.spec)
        refuse_other_types((BiasRule, OverrideRule), rule=self.rule)
        refuse_unstorable(self.provenance)
        shape = (self.spec.n_layers, self.spec.n_experts)
        for name, tensor in self.rule.tensors.items():
            if tuple(tensor.shape) != shape:
                raise MaskError(f"{name} has shape {tuple(tensor.shape)}, but the model has [L, E] = {list(shape)}")
        if isinstance(self.rule, OverrideRule):
            refuse_unforceable(self.rule, self.spec)

    @classmethod
    def from_bias(cls, bias: Tensor, spec: RouterSpec, provenance: Mapping[str, Any] | None = None) -> "Mask":
        """A mask that adds ``bias`` [L, E] to the router logits before selection.

        Raises MaskError if the shape differs from the spec's, or for NaN or infinity.
        """
        refuse_other_types(Tensor, bias=bias)
        return cls(spec, BiasRule(bias.detach().to("cpu", torch.float32).clone()), facts(provenance))

    @classmethod
    def from_experts(
        cls,
        experts: Mapping[int, Mapping[int, float]],
        spec: "RouterSpec | nn.Module",
        provenance: Mapping[str, Any] | None = None,
    ) -> "Mask":
        """A mask that adds a bias to the router logits of a few experts: ``{layer: {expert: bias}}``.

        ``layer`` is the depth in the model, dense layers counted, as everywhere in mascing. ``spec`` is the model or
        what ``inspect_routers`` says of it. Raises MaskError for a layer or an expert that the model does not have.
        """
        if isinstance(spec, nn.Module):
            spec = inspect_routers(spec)
        refuse_other_types(RouterSpec, spec=spec)
        return cls.from_bias(bias_of(experts, spec), spec, {"method": "by hand", **facts(provenance)})

    @classmethod
    def from_override(
        cls,
        activated: Tensor,
        deactivated: Tensor,
        priority: Tensor,
        spec: RouterSpec,
        epsilon: float = 1e-2,
        provenance: Mapping[str, Any] | None = None,
    ) -> "Mask":
        """A mask that forces experts on and off.

        All tensors are [L, E]; ``priority`` is the risk difference. A layer keeps at most top-k activated experts,
        those with the highest priority. It keeps at most E - top-k deactivated ones, those with the lowest, so that
        top-k experts remain. Raises MaskError if an expert is both activated and deactivated, or if selection is
        limited to groups that cannot hold them together (``masks.groups``).
        """
        refuse_other_types(Tensor, activated=activated, deactivated=deactivated, priority=priority)
        refuse_other_types(RouterSpec, spec=spec)
        requested = OverrideRule(
            activated.detach().cpu().bool(),
            deactivated.detach().cpu().bool(),
            priority.detach().to("cpu", torch.float32).clone(),
            float(epsilon),
        )
        return cls(spec, requested.capped(spec.top_k), facts(provenance))

    @cached_property
    def entries(self) -> int:
        """Number of entries with an effect: non-zero biases, or activated and deactivated experts."""
        return int(self.rule.entries_LE.sum())

    @property
    def digest(self) -> str:
        """sha256 of the mask's content, provenance included, in hex."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mask) and self.to_bytes() == other.to_bytes()

    def __hash__(self) -> int:
        return hash(self.digest)

    def __mul__(self, factor: float) -> "Mask":
        """The bias mask times a number."""
        from mascing.masks.combining.arithmetic import scaled

        return scaled(self, factor)

    __rmul__ = __mul__

    def __neg__(self) -> "Mask":
        """The bias mask with all signs changed."""
        return self * -1.0

    def __add__(self, other: "Mask") -> "Mask":
        """The bias mask with the biases of another mask of the same model added, as ``mascing mask compose`` does."""
        from mascing.masks.combining.arithmetic import summed

        return summed(self, other)

    def __repr__(self) -> str:
        from mascing.masks.unproven import why_unproven

        spec, method = self.spec, self.provenance.get("method", "-")
        mark = "unproven, " if why_unproven(self) is not None else ""
        return (
            f"Mask({mark}{spec.family} {spec.n_layers} x {spec.n_experts}, {self.rule.name}, {self.entries} entries, "
            f"method {method}, digest {self.digest[:12]})"
        )

    def _repr_html_(self) -> str:
        """What notebooks show."""
        from mascing.masks.picture import html

        return html(self)

    def to_polars(self) -> "pl.DataFrame":
        """One row for each expert that the mask moves, in order of depth and expert.

        The columns are ``layer`` (depth in the model) and ``expert``, then ``bias`` of a bias mask, or ``forced`` ("on"
        or "off") and ``priority`` of an override mask.
        """
        return to_polars(self)

    def to_bytes(self) -> bytes:
        """The mask as one safetensors file; equal masks give equal bytes."""
        tensors = {name: tensor.contiguous() for name, tensor in self.rule.tensors.items()}
        description = {
            "format": FORMAT,
            "spec": self.spec.to_json(),
            "epsilon": self.rule.epsilon,
            "provenance": self.provenance,
        }
        # A single metadata key, because safetensors does not guarantee the order of several.
        return bytes(save_tensors(tensors, metadata={"mascing": json.dumps(description, sort_keys=True)}))

    @classmethod
    def from_bytes(cls, data: bytes) -> "Mask":
        """Inverse of :meth:`to_bytes`. Raises MaskError if the bytes are not a mask."""
        try:
            tensors = load_tensors(data)
            description = json.loads(_metadata(data)["mascing"])
            if description.get("format") != FORMAT:
                raise MaskError(f"the mask has format {description.get('format')!r}; this version reads {FORMAT!r}")
            rule = rule_of({name: tensors[name] for name in TENSORS if name in tensors}, float(description["epsilon"]))
            return cls(RouterSpec.from_json(description["spec"]), rule, dict(description["provenance"]))
        except (SafetensorError, KeyError, ValueError, TypeError, AttributeError, struct.error) as error:
            why = f"it has no {error}" if isinstance(error, KeyError) else first_line(error)
            raise MaskError(
                f"not a mask ({why}): a mask is a safetensors file that a run or Mask.save wrote"
            ) from error

    def save(self, url: str | PathLike[str]) -> None:
        """Write the mask to a local path or any fsspec URL (``s3://bucket/mask.safetensors``).

        Raises MaskError if it cannot be written there.
        """
        place = _place(url)
        try:
            write_bytes(place, self.to_bytes())
        except url_errors() as error:
            raise MaskError(f"the mask cannot be written to {place}: {told(place, error)}") from error

    @classmethod
    def load(cls, url: str | PathLike[str]) -> "Mask":
        """Read a mask from a local path or any fsspec URL. Raises MaskError if there is none or it is not a mask.

        Only a regular file is read, of up to 64 MB.
        """
        place = _place(url)
        try:
            return cls.from_bytes(read_bytes(place, _LARGEST_BYTES))
        except url_errors() as error:
            raise MaskError(f"no mask can be read from {place}: {told(place, error)}") from error

    def push_to_hub(
        self,
        repo_id: str,
        *,
        card: str | PathLike[str] | None = None,
        base_model: str | None = None,
        private: bool | None = None,
        revision: str | None = None,
        token: str | None = None,
    ) -> str:
        """Write the mask to a repository of the Hugging Face hub, made where there is none; returns the commit's URL.

        It holds `mask.safetensors`, and as `README.md` a model card. ``card`` is the `card.json` of a published mask:
        its numbers go onto the model card, and the file into the repository. ``base_model`` is the hub id of the model
        that the mask is for. Raises MaskError if the mask or a part of it is unproven, if the card is another mask's,
        or if the hub refuses.
        """
        from mascing.masks.hub import push

        return push(self, repo_id, card=card, base_model=base_model, private=private, revision=revision, token=token)

    @classmethod
    def from_hub(cls, repo_id: str, revision: str | None = None, *, token: str | None = None) -> "Mask":
        """Read the mask of a repository of the Hugging Face hub, at a branch, tag or commit.

        Raises MaskError if there is none.
        """
        from mascing.masks.hub import pull

        return pull(repo_id, revision, token)


def refuse_empty(mask: Mask) -> None:
    """Raise MaskError if the mask moves no expert."""
    if mask.entries == 0:
        raise MaskError("the mask has no entries: it steers nothing")


def refuse_unforceable(rule: OverrideRule, spec: RouterSpec) -> None:
    """Raise MaskError if a layer of the model that ``spec`` describes cannot force the experts of ``rule``."""
    most_on, most_off = int(rule.activated_LE.sum(-1).max()), int(rule.deactivated_LE.sum(-1).max())
    if most_on > spec.top_k or most_off > spec.n_experts - spec.top_k:
        raise MaskError(
            f"a layer selects {spec.top_k} of {spec.n_experts} experts: no more than {spec.top_k} can be activated and "
            f"{spec.n_experts - spec.top_k} deactivated. Mask.from_override keeps the strongest"
        )
    if spec.groups is None:
        return
    for layer_id, on_E, off_E in zip(spec.layer_ids, rule.activated_LE, rule.deactivated_LE, strict=True):
        complaint = group_complaint(on_E, off_E, spec.groups, spec.top_k)
        if complaint is not None:
            raise MaskError(f"the override cannot hold in layer {layer_id}: {complaint}")


def _place(url: object) -> str:
    refuse_other_types((str, PathLike), url=url)
    return str(url)


def _metadata(data: bytes) -> dict[str, str]:
    """The metadata of a safetensors file: 8 bytes of header length, then the header as JSON."""
    (length,) = struct.unpack("<Q", data[:8])
    metadata: dict[str, str] = json.loads(data[8 : 8 + length])["__metadata__"]
    return metadata
