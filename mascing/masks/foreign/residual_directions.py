"""Files that steer the residual stream, not the routers: known, so that the refusal can say what they are."""

from typing import NoReturn

from mascing.errors import MaskError
from mascing.masks.foreign.choice import Choice

_GGUF = b"GGUF"
_ZIP = b"PK\x03\x04"
"""How a file of `torch.save` begins."""
_NPY = b"\x93NUMPY"


def is_directions(data: bytes) -> bool:
    """Whether the bytes are a control vector (GGUF), or a tensor of torch.save or numpy."""
    return data.startswith((_GGUF, _ZIP, _NPY))


def refuse(data: bytes, choice: Choice) -> NoReturn:
    """Raise MaskError that says why."""
    del choice
    kind = "a GGUF control vector" if data.startswith(_GGUF) else "a tensor"
    raise MaskError(
        f"this is {kind}: published ones are directions that are added to the hidden states between layers, as wide as "
        "the model. A mask has a number per layer and expert for the router logits; neither can be made of the other, "
        "because routers see hidden states after other layers have changed them. Nothing was imported"
    )
