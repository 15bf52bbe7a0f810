"""Give each engine that is made its front, where its configuration turns the plugin on.

Where it does not, one thing is added: a request that asks for a mask is refused, since nothing would steer it.
"""

import inspect
from functools import wraps
from typing import Any

from mascing.errors import SteeringError
from mascing.serving.misplaced import names_ours
from mascing.serving.vllm_plugin.plugin_settings import KEY, settings_in
from mascing.serving.vllm_plugin.unsupported import refuse_unsupported


def stand_before_engines() -> None:
    """Let each AsyncLLM that is made from now on have its front, if its configuration turns the plugin on.

    An engine of a version whose methods differ from those that the front shadows is refused when it is made.
    """
    from vllm.v1.engine.async_llm import AsyncLLM

    plain = AsyncLLM.__init__
    if hasattr(plain, "mascing"):
        return

    @wraps(plain)
    def made(self: Any, *args: Any, **kwargs: Any) -> None:
        given = inspect.signature(plain).bind(self, *args, **kwargs).arguments
        settings = settings_in(given["vllm_config"].additional_config)
        if settings is None:
            plain(self, *args, **kwargs)
            return
        from mascing.serving.vllm_plugin.front.engine_front import EngineFront

        _refuse_other_version(AsyncLLM)
        _refuse_other_fronts(given["vllm_config"], given.get("client_count", 1))
        refuse_unsupported(given["vllm_config"])
        plain(self, *args, **kwargs)
        self.mascing = EngineFront(self, settings)

    made.mascing = True  # type: ignore[attr-defined]
    AsyncLLM.__init__ = made
    _refuse_what_nobody_binds()


def _refuse_what_nobody_binds() -> None:
    from vllm.exceptions import VLLMValidationError
    from vllm.v1.engine.input_processor import InputProcessor

    plain = InputProcessor.assign_request_id

    def assign_request_id(request: Any) -> None:
        arguments = getattr(request.sampling_params, "extra_args", None) or {}
        asked = names_ours(arguments) if KEY not in arguments else None
        if asked is not None:
            raise VLLMValidationError(
                f"{asked}: no mask acts here: take mascing serve, AsyncLLM with additional_config={{{KEY!r}: {{}}}}, "
                "or in place of vllm.LLM, which has no masks, mascing.serving.vllm_plugin.offline.SteeredVllm"
            )
        plain(request)

    InputProcessor.assign_request_id = staticmethod(assign_request_id)


def _refuse_other_version(engine: Any) -> None:
    from vllm import __version__
    from vllm.v1.engine import EngineCoreRequest
    from vllm.v1.engine.input_processor import InputProcessor

    fields = {"request_id", "sampling_params", "prompt_token_ids", "prompt_embeds", "cache_salt"}
    found = {
        "AsyncLLM.generate": _parameters(engine, "generate")[1:4] == ["prompt", "sampling_params", "request_id"],
        "AsyncLLM.encode": bool(_parameters(engine, "encode")),
        "AsyncLLM.collective_rpc": _parameters(engine, "collective_rpc")[1:4] == ["method", "timeout", "args"],
        "AsyncLLM.errored": isinstance(getattr(engine, "errored", None), property),
        "InputProcessor.assign_request_id": _parameters(InputProcessor, "assign_request_id") == ["request"],
        "EngineCoreRequest": fields <= set(EngineCoreRequest.__struct_fields__),
    }
    missing = [name for name, fits in found.items() if not fits]
    if missing:
        raise SteeringError(
            f"vLLM {__version__} cannot be steered: {', '.join(missing)} is not as this version of mascing knows it. "
            "Install a version of vLLM that mascing names, or a newer mascing"
        )


def _refuse_other_fronts(vllm_config: Any, fronts: int) -> None:
    if fronts > 1:
        raise SteeringError(
            f"{fronts} API servers would each hold masks of their own, and a swap would reach one of them: start with "
            "--api-server-count 1"
        )
    if vllm_config.parallel_config.data_parallel_size > 1:
        raise SteeringError(
            "with data parallelism a mask would be written to one of the engines: start several servers that follow "
            "the same channel instead, without --data-parallel-size"
        )
    if vllm_config.model_config.runner_type == "pooling":
        raise SteeringError("a server for embeddings, classes or scores cannot be steered: start it without masks")


def _parameters(owner: Any, name: str) -> list[str]:
    method = getattr(owner, name, None)
    return [] if method is None else list(inspect.signature(method).parameters)
