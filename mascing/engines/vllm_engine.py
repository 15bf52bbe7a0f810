"""The engine `vllm`: the model in vLLM, in this process, which steers each conversation by its own mask.

All conversations of a call, under whatever masks, are one continuous batch: a new one begins as soon as another ends.
Shapes: T token, L MoE layer, E expert, K selected expert.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from mascing.conversations.chat import Prompt
from mascing.conversations.thoughts import ThoughtReader
from mascing.engines.endings import Endings, before_end, recommended_in, reply_of
from mascing.engines.engine import Answer, Turn
from mascing.engines.prompts import rendered
from mascing.engines.sampling import seed_of
from mascing.errors import MascingError, ModelError
from mascing.models.batching import Told, untold
from mascing.models.checkpoints import local_folder, one_line
from mascing.models.model_folder import context_in, dtype_in, settings_of, vocabulary_in
from mascing.models.out_of_memory import is_out_of_memory
from mascing.models.tokenizer import tokenizer_in
from mascing.routers.spec import RouterSpec
from mascing.schemas.config import GenerationConfig, ModelConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.settings.engine_settings import VllmEngine as Options
from mascing.schemas.trace_layout import EVERYTHING, Chosen
from mascing.traces.batch_recording import Routing, chosen_routing, traced
from mascing.traces.trace_set import SampleTrace

if TYPE_CHECKING:
    from mascing.serving.vllm_plugin.offline import SteeredVllm

_IN_A_WORKER = {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1", "VLLM_LOGGING_LEVEL": "WARNING"}


@dataclass(frozen=True)
class VllmEngine:
    """Replies and traces of a model in vLLM.

    ``context`` is the number of tokens that prompt and reply may have, and ``end_ids`` are the end tokens that the
    model knows: the files of some name others, which vLLM refuses.
    """

    vllm: "SteeredVllm"
    tokenizer: Any
    endings: Endings
    context: int
    end_ids: tuple[int, ...]

    @property
    def spec(self) -> RouterSpec:
        """The routers of the model."""
        return self.vllm.spec

    def replies(
        self, asked: Sequence[Turn], generation: GenerationConfig, told: Told = untold
    ) -> Iterator[tuple[int, Answer]]:
        """Yield positions and answers as they are done, in any order.

        Above temperature 0 the id of a conversation seeds its reply. Raises DataError for a conversation that cannot be
        rendered, MaskError for a mask of another model, SteeringError if a mask did not act, and ModelError if memory
        runs out.
        """
        from mascing.serving.vllm_plugin.offline import Request

        prompts = rendered(self.tokenizer, [turn.conversation for turn in asked], generation, self.context)
        seeds = [seed_of(prompt.conversation_id) if generation.temperature > 0 else None for prompt in prompts]
        requests = [
            # A mask that moves nothing, as pruning may try, has no slot.
            Request(prompt.token_ids, turn.mask if turn.mask and turn.mask.entries else None, seed=seed)
            for prompt, turn, seed in zip(prompts, asked, seeds, strict=True)
        ]
        reader = ThoughtReader(self.tokenizer)
        with _in_memory():
            for number, made in self.vllm.generate(
                requests,
                max_new_tokens=generation.max_new_tokens,
                temperature=generation.temperature,
                end_ids=self.end_ids,
                stop_strings=self.endings.marks,
            ):
                prompt, said = prompts[number], before_end(self.endings.ids, made.token_ids)
                told(len(prompt.token_ids) + len(made.token_ids), 0)
                yield number, Answer(reply_of(reader, prompt, said, self.endings.marks, generation.max_new_tokens))

    def traces(
        self,
        conversations: Sequence[Conversation],
        batch_tokens: int,
        replies: bool = False,
        chosen: Chosen = EVERYTHING,
        told: Told = untold,
    ) -> list[SampleTrace]:
        """The routing of the conversations, read in one continuous batch, whatever ``batch_tokens`` says."""
        del batch_tokens

        def record(prompts: Sequence[Prompt]) -> list[Routing]:
            routings: dict[int, Routing] = {}
            with _in_memory():
                for number, z_TLE, ids_TLK in self.vllm.record([prompt.token_ids for prompt in prompts]):
                    told(len(z_TLE), 0)
                    routing = torch.from_numpy(z_TLE), torch.from_numpy(ids_TLK)
                    routings[number] = chosen_routing(prompts[number], *routing, chosen)
            return [routings[number] for number in range(len(prompts))]

        return traced(self.tokenizer, self.context, conversations, record, replies, chosen)


def vllm_engine(options: Options, model: ModelConfig, num_gpus: float) -> VllmEngine:
    """Load the model into vLLM, in this process, on ``num_gpus`` of a GPU or, at 0, on the CPU.

    Raises ModelError if vLLM cannot load it, and SteeringError if the plugin cannot steer it there.
    """
    from mascing.serving.vllm_plugin.offline import SteeredVllm

    with local_folder(model) as folder:
        settings, tokenizer = settings_of(folder), tokenizer_in(folder, model)
        context = options.context(context_in(settings))
        arguments: dict[str, Any] = {
            # vLLM reads a prompt only if one more token has room; nothing is computed at that position.
            "max_model_len": None if context is None else context + 1,
            "max_num_seqs": options.max_num_seqs,
            "trust_remote_code": model.trust_remote_code,
            "kv_cache_memory_bytes": options.cache_bytes(num_gpus),
            "enforce_eager": options.enforce_eager,
        }
        if num_gpus:
            arguments["gpu_memory_utilization"] = options.gpu_share(num_gpus)
        elif "kv_lora_rank" in settings:
            # vLLM's own kernels for CPUs compute latent attention wrongly after the first position.
            arguments["compilation_config"] = {"custom_ops": ["none"]}
        os.environ.update(_IN_A_WORKER)
        dtype = dtype_in(folder, settings) if model.dtype == "auto" else model.dtype
        try:
            vllm = SteeredVllm(str(folder), dtype=dtype, capture=True, engine_args=arguments)
        except MascingError:
            raise
        except Exception as error:  # vLLM raises what it likes, and only it knows the model
            raise ModelError(
                f"vLLM cannot load the model in {folder}: {one_line(error)}; set engine.max_model_len or "
                "engine.kv_cache_memory_bytes if it is about memory, or take `engine: {kind: transformers}`"
            ) from error
        endings = Endings.of(tokenizer, recommended_in(folder, model.trust_remote_code))
    vocabulary = vocabulary_in(settings)
    known = (token for token in sorted(endings.ids) if vocabulary is None or token < vocabulary)
    return VllmEngine(vllm, tokenizer, endings, context or vllm.max_tokens - 1, tuple(known))


@contextmanager
def _in_memory() -> Iterator[None]:
    """Say what to do if memory runs out: vLLM took what it needs when it started, so a smaller batch does not help."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise ModelError(
            f"vLLM ran out of memory ({one_line(error)}): lower engine.gpu_memory_utilization or engine.max_num_seqs"
        ) from error
