"""Bind a request to its mask, as it goes to the engine."""

from typing import Any

from mascing.errors import MaskError
from mascing.serving.choice import MASK, SELECTED, TOKENS, Span
from mascing.serving.mask_table import Admission
from mascing.serving.vllm_plugin.offline import cache_salt
from mascing.serving.vllm_plugin.plugin_settings import KEY

_SALT = "mascing:"
"""Begins the salt of every steered request. vLLM hashes salts together with the names of adapters, so ours begins as no
adapter's name does."""


def prompt_length(request: Any) -> int:
    """Number of tokens in the prompt of an EngineCoreRequest, which may be embeddings."""
    prompt = request.prompt_token_ids if request.prompt_token_ids is not None else request.prompt_embeds
    return len(prompt)


def check_salt(salt: Any) -> None:
    """Raise MaskError for a client's salt that could be taken for one of a mask."""
    if isinstance(salt, str) and salt.startswith(_SALT):
        raise MaskError(f"cache_salt cannot begin with {_SALT!r}: that is how masks are kept apart")


def bind(request: Any, admission: Admission, span: Span) -> None:
    """Replace what an EngineCoreRequest asks for by what was decided, and keep its cached keys and values apart.

    What is cached for a prefix depends on the mask and on the positions that it acts on, so both are in the salt.
    Raises MaskError for a salt that could be taken for one of these.
    """
    salt = request.cache_salt or ""
    check_salt(salt)
    given = request.sampling_params.extra_args or {}
    # A new dictionary: the client's own may be shared by many requests.
    arguments = {name: value for name, value in given.items() if name not in (MASK, TOKENS, SELECTED)}
    if admission.digest is not None:
        # The client's salt comes after a plus sign, which ours has not, so that it cannot be read as positions.
        request.cache_salt = cache_salt(admission.digest, span) + (f"+{salt}" if salt else "")
    if admission.digest is not None or admission.choice.selected:
        bound = {"slot": admission.slot, "digest": admission.digest, "start": span.start, "stop": span.stop}
        arguments[KEY] = {**bound, "selected": admission.choice.selected}
    request.sampling_params.extra_args = arguments or None
