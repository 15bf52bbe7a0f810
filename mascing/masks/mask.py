"""A mask: what is done to the router logits of one model, as an artefact with its provenance."""

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from mascing.errors import MaskError
from mascing.masks.override import strongest
from mascing.routers.spec import RouterSpec

FORMAT = "mascing-mask-1"
_TENSORS = ("bias", "activated", "deactivated", "priority")


@dataclass(frozen=True, eq=False)
class Mask:
    """One reconfiguration of one model's routers; make it with :meth:`from_bias` or :meth:`from_override`.

    Additive rule (MASCing): ``bias`` float32 [L, E] in units of router logits. Override rule (SteerMoE):
    ``activated`` and ``deactivated`` bool [L, E], ``priority`` float32 [L, E] the risk difference, ``epsilon`` the
    step beyond the best and the worst logit. Two masks are equal if their digests are.
    """

    spec: RouterSpec
    bias: Tensor | None = None
    activated: Tensor | None = None
    deactivated: Tensor | None = None
    priority: Tensor | None = None
    epsilon: float = 1e-2
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = (self.spec.n_layers, self.spec.n_experts)
        given = {name: tensor for name in _TENSORS if (tensor := getattr(self, name)) is not None}
        if set(given) not in ({"bias"}, {"activated", "deactivated", "priority"}):
            raise MaskError(f"a mask has a bias, or activated, deactivated and priority; this one has {sorted(given)}")
        for name, tensor in given.items():
            if tuple(tensor.shape) != shape:
                raise MaskError(f"{name} has shape {tuple(tensor.shape)}, but the model has [L, E] = {list(shape)}")
            if not torch.isfinite(tensor).all():
                raise MaskError(f"{name} has NaN or infinite entries")
        if self.activated is not None and self.deactivated is not None:
            _check_override(self.activated, self.deactivated, self.spec, self.epsilon)

    @classmethod
    def from_bias(cls, bias: Tensor, spec: RouterSpec, provenance: Mapping[str, Any] | None = None) -> "Mask":
        """A mask that adds ``bias`` [L, E] to the router logits before selection.

        Raises MaskError for another shape than the spec's, NaN or infinity.
        """
        return cls(spec, bias=bias.detach().to("cpu", torch.float32).clone(), provenance=dict(provenance or {}))

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
        """A mask that forces experts on and off; all of [L, E], ``priority`` is the risk difference.

        A layer keeps at most top-k activated experts, those of the highest priority, and at most E - top-k
        deactivated ones, those of the lowest: top-k experts must remain. Raises MaskError if an expert is both.
        """
        on, off = activated.detach().cpu().bool(), deactivated.detach().cpu().bool()
        risk = priority.detach().to("cpu", torch.float32).clone()
        if on.shape == off.shape == risk.shape:
            if bool((on & off).any()):
                raise MaskError("an expert cannot be both activated and deactivated")
            on = strongest(on, risk, spec.top_k)
            off = strongest(off, -risk, spec.n_experts - spec.top_k)
        return cls(
            spec,
            activated=on,
            deactivated=off,
            priority=risk,
            epsilon=float(epsilon),
            provenance=dict(provenance or {}),
        )

    @property
    def rule(self) -> Literal["bias", "override"]:
        """Which rule the mask follows."""
        return "override" if self.bias is None else "bias"

    @property
    def entries(self) -> int:
        """Number of entries that do something: non-zero biases, or activated and deactivated experts."""
        if self.bias is not None:
            return int(self.bias.count_nonzero())
        assert self.activated is not None
        assert self.deactivated is not None
        return int((self.activated | self.deactivated).sum())

    @property
    def digest(self) -> str:
        """sha256 of the mask's content, provenance included, in hex."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mask) and self.to_bytes() == other.to_bytes()

    def __hash__(self) -> int:
        return hash(self.digest)

    def to_bytes(self) -> bytes:
        """The mask as one safetensors file; equal masks give equal bytes."""
        tensors = {name: tensor.contiguous() for name in _TENSORS if (tensor := getattr(self, name)) is not None}
        about = {
            "format": FORMAT,
            "spec": self.spec.to_json(),
            "epsilon": self.epsilon,
            "provenance": self.provenance,
        }
        # One metadata key, because safetensors does not promise an order of several.
        return bytes(save_tensors(tensors, metadata={"mascing": json.dumps(about, sort_keys=True)}))

    @classmethod
    def from_bytes(cls, data: bytes) -> "Mask":
        """Inverse of :meth:`to_bytes`. Raises MaskError if the bytes are no mask."""
        try:
            tensors = load_tensors(data)
            about = json.loads(_metadata(data)["mascing"])
        except (SafetensorError, KeyError, ValueError, struct.error) as error:
            raise MaskError(f"not a mask: {error!r}. A mask is a safetensors file that Mask.save wrote") from error
        if about.get("format") != FORMAT:
            raise MaskError(f"the mask has format {about.get('format')!r}; this version reads {FORMAT!r}")
        return cls(
            spec=RouterSpec.from_json(about["spec"]),
            epsilon=about["epsilon"],
            provenance=about["provenance"],
            **{name: tensors.get(name) for name in _TENSORS},
        )

    def save(self, url: str) -> None:
        """Write the mask to a local path or any fsspec URL (``s3://bucket/mask.safetensors``).

        Raises MaskError if it cannot be written there.
        """
        try:
            if "://" not in url:
                Path(url).write_bytes(self.to_bytes())
                return
            import fsspec

            with fsspec.open(url, "wb") as file:
                file.write(self.to_bytes())
        except OSError as error:
            raise MaskError(f"the mask cannot be written to {url}: {error}") from error

    @classmethod
    def load(cls, url: str) -> "Mask":
        """Read a mask from a local path or any fsspec URL. Raises MaskError if there is none or it is no mask."""
        try:
            if "://" not in url:
                return cls.from_bytes(Path(url).read_bytes())
            import fsspec

            with fsspec.open(url, "rb") as file:
                return cls.from_bytes(file.read())
        except OSError as error:
            raise MaskError(f"no mask can be read from {url}: {error}") from error


def _check_override(activated: Tensor, deactivated: Tensor, spec: RouterSpec, epsilon: float) -> None:
    if bool((activated & deactivated).any()):
        raise MaskError("an expert cannot be both activated and deactivated")
    if not 0 < epsilon < float("inf"):
        raise MaskError(f"epsilon must be positive and finite, not {epsilon}")
    if int(activated.sum(-1).max()) > spec.top_k or int(deactivated.sum(-1).max()) > spec.n_experts - spec.top_k:
        raise MaskError(
            f"a layer selects {spec.top_k} of {spec.n_experts} experts: no more than {spec.top_k} can be activated and "
            f"{spec.n_experts - spec.top_k} deactivated. Mask.from_override keeps the strongest"
        )


def _metadata(data: bytes) -> dict[str, str]:
    """The metadata of a safetensors file: 8 bytes of header length, then the header as JSON."""
    (length,) = struct.unpack("<Q", data[:8])
    metadata: dict[str, str] = json.loads(data[8 : 8 + length])["__metadata__"]
    return metadata
