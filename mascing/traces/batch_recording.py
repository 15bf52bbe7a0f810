"""Record the router logits of labelled conversations, at about the speed of the model's own decoder.

Shapes: B batch, T token of a batch with padding, R recorded token, L MoE layer, E expert.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mascing.conversations.chat import Prompt, render, with_replies
from mascing.errors import DataError, ModelError
from mascing.models.batching import length_sorted_batches, right_padded
from mascing.models.loading import Loaded
from mascing.routers.spec import inspect_routers
from mascing.routers.tap import watch_routers
from mascing.schemas.conversation import Conversation
from mascing.traces.trace_set import PROMPT, QUESTION, REPLY, SampleTrace


def harvest(
    loaded: Loaded, conversations: Sequence[Conversation], batch_tokens: int, replies: bool = False
) -> list[SampleTrace]:
    """Raw router logits of each conversation's final user turn and generation prompt, in the order given.

    With ``replies``, a conversation that holds the model's own reply also gets the logits of that reply, teacher-forced
    after the prompt. Prompts beyond the model's context lose their oldest tokens, replies their last ones. Raises
    DataError for a conversation that has no label or cannot be rendered, and ModelError if a router does not see every
    token.
    """
    prompts = [_prompt(loaded, conversation, replies) for conversation in conversations]
    recorded = record_prompts(loaded.model, prompts, batch_tokens)
    return [
        SampleTrace(conversation.id, conversation.group_id, int(conversation.label == "positive"), z, _regions(prompt))
        for conversation, prompt, z in zip(conversations, prompts, recorded, strict=True)
    ]


def record_prompts(model: Any, prompts: Sequence[Prompt], batch_tokens: int) -> list[Tensor]:
    """Raw router logits of each prompt from the start of its question to its end: float16 [T, L, E] on the host.

    Runs the decoder alone (no language-model head, no cache) on length-sorted, right-padded batches of at most
    ``batch_tokens`` tokens. The results are views of the one tensor that the logits are written to, so nothing is held
    twice. Raises ModelError if a router does not see every token exactly once.
    """
    if not prompts:
        return []
    spec = inspect_routers(model)
    recorder = _Recorder(prompts, spec.n_layers, spec.n_experts, model.device)
    with torch.no_grad(), watch_routers(model, recorder.watch):
        decoder = model.get_decoder()
        for batch in length_sorted_batches([len(prompt.token_ids) for prompt in prompts], batch_tokens):
            decoder(input_ids=recorder.begin(batch).to(model.device), use_cache=False)
            recorder.check()
        recorder.wait()
    return [recorder.sample(index) for index in range(len(prompts))]


class _Recorder:
    """Receives router logits batch by batch and stores those of the recorded tokens as float16 on the host.

    The store is [L, R, E] with one batch after another. The rows of one layer and batch are a contiguous block, written
    by a single converting copy. For a model on a GPU the store is pinned, and the copies overlap with the forward.
    """

    def __init__(self, prompts: Sequence[Prompt], n_layers: int, n_experts: int, device: torch.device) -> None:
        self._prompts = prompts
        self._on_gpu = device.type == "cuda"
        total = sum(len(prompt.token_ids) - prompt.question[0] for prompt in prompts)
        self._z_LRE = torch.empty(n_layers, total, n_experts, dtype=torch.float16, pin_memory=self._on_gpu)
        self._spans: dict[int, tuple[int, int]] = {}
        self._written = 0
        self._block = (0, 0)
        self._n_rows = 0
        self._rows_R: dict[torch.device, Tensor] = {}
        self._times_met = [0] * n_layers
        self._devices: set[torch.device] = set()

    def begin(self, batch: Sequence[int]) -> Tensor:
        """Lay out the batch's samples in the store; returns its token ids [B, T]."""
        ids_BT = right_padded([self._prompts[index].token_ids for index in batch])
        self._n_rows, start, rows = ids_BT.numel(), self._written, []
        for row, index in enumerate(batch):
            first, last = self._prompts[index].question[0], len(self._prompts[index].token_ids)
            rows.append(torch.arange(first, last) + row * ids_BT.shape[1])
            self._spans[index] = (self._written, self._written + last - first)
            self._written += last - first
        self._block, self._rows_R = (start, self._written), {torch.device("cpu"): torch.cat(rows)}
        self._times_met = [0] * len(self._times_met)
        return ids_BT

    def watch(self, layer: int, logits_NE: Tensor) -> None:
        """Store one router's logits of the batch. A call before the first batch is a tap's proof and stores nothing."""
        if not self._n_rows:
            return
        if logits_NE.shape[0] != self._n_rows:
            raise ModelError(
                f"the router of MoE layer {layer} saw {logits_NE.shape[0]} of {self._n_rows} tokens: cannot record it"
            )
        start, end = self._block
        self._devices.add(logits_NE.device)
        recorded_RE = logits_NE.index_select(0, self._rows_on(logits_NE.device))
        self._z_LRE[layer, start:end].copy_(recorded_RE, non_blocking=self._on_gpu)
        self._times_met[layer] += 1

    def check(self) -> None:
        """Raise ModelError unless the batch met each router once."""
        wrong = {layer: times for layer, times in enumerate(self._times_met) if times != 1}
        if wrong:
            raise ModelError(f"a forward must meet the router of every MoE layer once; met (layer: times) {wrong}")

    def wait(self) -> None:
        """Return when every copy from a GPU has arrived; the layers may be on several GPUs."""
        for device in self._devices:
            if device.type == "cuda":
                torch.cuda.synchronize(device)

    def sample(self, index: int) -> Tensor:
        """The recorded logits [T, L, E] of one prompt, a view."""
        start, end = self._spans[index]
        return self._z_LRE[:, start:end].permute(1, 0, 2)

    def _rows_on(self, device: torch.device) -> Tensor:
        if device not in self._rows_R:
            self._rows_R[device] = self._rows_R[torch.device("cpu")].to(device)
        return self._rows_R[device]


def _prompt(loaded: Loaded, conversation: Conversation, replies: bool) -> Prompt:
    if conversation.label is None:
        raise DataError(f"conversation {conversation.id!r} has no label: only labelled conversations make traces")
    context, reply = _context(loaded.model), conversation.own_reply
    if not replies or not reply:
        return render(loaded.tokenizer, conversation, context)
    [prompt] = with_replies(loaded.tokenizer, conversation, [reply])
    return prompt.fitted(context) if context is not None else prompt


def _context(model: Any) -> int | None:
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


def _regions(prompt: Prompt) -> Tensor:
    question, after = prompt.question[1] - prompt.question[0], prompt.prompt[1] - prompt.prompt[0]
    reply = len(prompt.token_ids) - prompt.prompt[1]
    return torch.tensor([QUESTION] * question + [PROMPT] * after + [REPLY] * reply, dtype=torch.uint8)
