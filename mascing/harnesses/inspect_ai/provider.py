"""The provider `mascing` of Inspect: replies of a model that runs here, with a mask in force."""

from collections import Counter
from collections.abc import Sequence
from copy import deepcopy
from hashlib import sha256
from threading import Lock
from typing import Any, NamedTuple

import anyio.to_thread
from inspect_ai.model import ChatMessage, GenerateConfig, ModelAPI, ModelOutput
from inspect_ai.tool import ToolChoice, ToolInfo

from mascing.conversations.chat import Prompt, render
from mascing.conversations.reply import Reply
from mascing.engines.generation import complete, context_length
from mascing.errors import ConfigError
from mascing.harnesses.inspect_ai.batching import Batches
from mascing.harnesses.inspect_ai.messages import conversation_of, output_of, refuse_unsupported
from mascing.harnesses.steered import DEFAULT_STORAGE, open_steered
from mascing.schemas.config import GenerationConfig


class _Request(NamedTuple):
    prompt: Prompt
    generation: GenerationConfig


class SteeredAPI(ModelAPI):
    """``--model mascing/PATH -M mask=ADDRESS``; ``mask=none`` is the model itself.

    Further arguments (``-M``) are ``storage``, ``batch_size``, and those of `model` in a run.yaml. Replies are greedy
    unless the task or the command line gives a temperature, and at most 512 tokens long unless it gives ``max_tokens``.
    Each output's metadata hold the digest of the mask.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008 - Inspect's signature
        *,
        mask: str | None = "",
        storage: str = DEFAULT_STORAGE,
        batch_size: int = 16,
        **settings: Any,
    ) -> None:
        """Load the model and prove that the mask steers it. Raises the errors of ``open_steered``."""
        if base_url is not None:
            raise ConfigError("the model of mascing/PATH runs here: leave out --model-base-url")
        self.steered = open_steered(model_name, mask, storage, **settings)
        # Inspect's cache of replies knows a model by its name and this URL, and not by its arguments or its weights.
        super().__init__(model_name, f"mascing:{self.steered.identity.replace(' ', ':')}", api_key, [], config)
        self._batch_size = batch_size
        self._batches: Batches[_Request, Reply] = Batches(self._replies, batch_size)
        # A fast tokenizer is of one thread at a time; the engine decodes with its own while others are rendered.
        self._tokenizer, self._rendering = deepcopy(self.steered.loaded.tokenizer), Lock()
        self._asked = Counter[str]()
        self._context = context_length(self.steered.loaded)

    def max_tokens(self) -> int:
        """What a reply may take unless the task says otherwise."""
        return 512

    def max_connections(self) -> int:
        """How many samples ask at the same time: those of two batches, so that one is ready when the other is done."""
        return 2 * self._batch_size

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """Reply to a conversation. Raises ConfigError for what this provider does not do, such as calls of tools."""
        refuse_unsupported(tools, config)
        return await anyio.to_thread.run_sync(self._output, input, config)

    def _output(self, input: Sequence[ChatMessage], config: GenerateConfig) -> ModelOutput:
        prompt = self._prompt(input, config)
        room = self._context - len(prompt.token_ids) if self._context else None
        wanted = config.max_tokens or self.max_tokens()
        if room is not None and room < 1:
            return output_of(self.model_name, Reply("", cut_off=True), prompt, self._metadata(), of_model=True)
        generation = GenerationConfig(
            max_new_tokens=wanted if room is None else min(wanted, room),
            temperature=config.temperature or 0.0,
            batch_size=self._batch_size,
        )
        reply = self._batches.ask(_Request(prompt, generation), generation)
        cut_by_context = reply.cut_off and generation.max_new_tokens < wanted
        return output_of(
            self.model_name, reply, prompt, self._metadata(), of_model=cut_by_context, marks=config.stop_seqs or ()
        )

    def _prompt(self, input: Sequence[ChatMessage], config: GenerateConfig) -> Prompt:
        """The rendered conversation; its id seeds the sampling, and no two epochs of a sample have one id."""
        conversation = conversation_of(input)
        content = sha256(f"{config.seed} {conversation.messages}".encode()).hexdigest()[:16]
        with self._rendering:
            self._asked[content] += 1
            name = f"{content}-{self._asked[content]}"
            return render(self._tokenizer, conversation.model_copy(update={"id": name}))

    def _replies(self, requests: Sequence[_Request]) -> list[Reply]:
        prompts = [request.prompt for request in requests]
        with self.steered.in_force():
            return complete(self.steered.loaded, prompts, None, requests[0].generation)

    def _metadata(self) -> dict[str, Any]:
        facts = self.steered.facts()
        facts.pop("tokens_steered", None)  # of the whole run so far, not of this reply
        return facts
