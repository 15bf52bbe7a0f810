"""What the plugin does not handle is refused before a model is loaded, so that nothing runs unsteered unseen."""

from typing import Any

from mascing.errors import SteeringError


def refuse_unsupported(vllm_config: Any) -> None:
    """Raise SteeringError for a configuration of vLLM under which masks would reach the wrong tokens, or none."""
    parallel = vllm_config.parallel_config
    if parallel.use_sequence_parallel_moe:
        raise SteeringError(
            "sequence-parallel MoE scatters the tokens of a step over processes, so that masks would meet the wrong "
            "ones: start without data parallelism together with expert parallelism (--enable-expert-parallel)"
        )
    if parallel.use_ubatching:
        raise SteeringError(
            "dual-batch overlap splits a step into micro-batches, so that masks would meet the wrong tokens: start "
            "without --enable-dbo and --ubatch-size"
        )
    if parallel.pipeline_parallel_size > 1:
        raise SteeringError("pipeline parallelism splits the layers of a mask over processes: start without it")
    if parallel.decode_context_parallel_size > 1 or parallel.prefill_context_parallel_size > 1:
        raise SteeringError("context parallelism gathers tokens of several processes: start without it")
    if vllm_config.model_config.enable_sleep_mode:
        raise SteeringError("sleep mode may discard the memory in which masks lie: start without --enable-sleep-mode")
    if vllm_config.speculative_config is not None:
        raise SteeringError("the model that drafts tokens would not be steered: start without speculative decoding")
