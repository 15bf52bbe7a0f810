"""Record the routing of labelled conversations, at about the speed of the model's own decoder.

Shapes: B batch, T token of a batch with padding, R recorded token, L MoE layer, E expert, K selected expert.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mascing.conversations.chat import Prompt, render, with_replies
from mascing.errors import DataError, ModelError
from mascing.models.batching import length_sorted_batches, right_padded
from mascing.models.loading import Loaded
from mascing.routers.selected_experts import watch_selections
from mascing.routers.spec import RouterSpec, inspect_routers
from mascing.routers.tap import watch_routers
from mascing.schemas.conversation import Conversation
from mascing.traces.trace_set import PROMPT, QUESTION, REPLY, SampleTrace, selection_dtype


def harvest(
    loaded: Loaded, conversations: Sequence[Conversation], batch_tokens: int, replies: bool = False
) -> list[SampleTrace]:
    """The routing of each conversation's final user turn and generation prompt, in the order given.

    With ``replies``, a conversation that holds the model's own reply also gets the routing of that reply,
    teacher-forced after the prompt. Prompts beyond the model's context lose their oldest tokens, replies their last
    ones. Raises DataError for a conversation that has no label or cannot be rendered, and ModelError if a router does
    not see every token or if its selection cannot be observed.
    """
    prompts = [_prompt(loaded, conversation, replies) for conversation in conversations]
    recorded = record_prompts(loaded.model, prompts, batch_tokens)
    return [
        SampleTrace(
            conversation.id,
            conversation.group_id,
            int(conversation.label == "positive"),
            routing.z,
            _regions(prompt),
            routing.selected,
        )
        for conversation, prompt, routing in zip(conversations, prompts, recorded, strict=True)
    ]


class Routing(NamedTuple):
    """One prompt from the start of its question to its end, on the host.

    ``z`` holds the raw router logits, float16 [T, L, E]; ``selected`` the ids of the experts that the model selected
    itself, :func:`selection_dtype` [T, L, K].
    """

    z: Tensor
    selected: Tensor


def record_prompts(model: Any, prompts: Sequence[Prompt], batch_tokens: int) -> list[Routing]:
    """The routing of each prompt, both parts from one forward.

    Runs the decoder alone (no language-model head, no cache) on length-sorted, right-padded batches of at most
    ``batch_tokens`` tokens. The results are views of the tensors that the routing is written to, so nothing is held
    twice. Raises ModelError if a router does not see every token exactly once or its selection cannot be observed.
    """
    if not prompts:
        return []
    recorder = _Recorder(prompts, inspect_routers(model), model.device)
    with (
        torch.no_grad(),
        watch_routers(model, partial(recorder.keep, recorder.logits)),
        watch_selections(model, partial(recorder.keep, recorder.selected)),
    ):
        decoder = model.get_decoder()
        for batch in length_sorted_batches([len(prompt.token_ids) for prompt in prompts], batch_tokens):
            decoder(input_ids=recorder.begin(batch).to(model.device), use_cache=False)
            recorder.check()
        recorder.wait()
    return [recorder.sample(index) for index in range(len(prompts))]


class _Store:
    """What is recorded of every layer, [L, R, E or K], and how often the batch met each layer."""

    def __init__(self, shape: tuple[int, int, int], dtype: torch.dtype, pinned: bool) -> None:
        self.values = torch.empty(shape, dtype=dtype, pin_memory=pinned)
        self.times_met = [0] * shape[0]


class _Recorder:
    """Receives the routing batch by batch and stores that of the recorded tokens on the host.

    The stores hold one batch after another. The rows of one layer and batch are a contiguous block, written by a single
    converting copy. For a model on a GPU the stores are pinned, and the copies overlap with the forward.
    """

    def __init__(self, prompts: Sequence[Prompt], spec: RouterSpec, device: torch.device) -> None:
        self._prompts = prompts
        self._on_gpu = device.type == "cuda"
        total = sum(len(prompt.token_ids) - prompt.question[0] for prompt in prompts)
        self.logits = _Store((spec.n_layers, total, spec.n_experts), torch.float16, self._on_gpu)
        self.selected = _Store((spec.n_layers, total, spec.top_k), selection_dtype(spec.n_experts), self._on_gpu)
        self._spans: dict[int, tuple[int, int]] = {}
        self._written = 0
        self._block = (0, 0)
        self._n_rows = 0
        self._rows_R: dict[torch.device, Tensor] = {}
        self._devices: set[torch.device] = set()

    def begin(self, batch: Sequence[int]) -> Tensor:
        """Lay out the batch's samples in the stores; returns its token ids [B, T]."""
        ids_BT = right_padded([self._prompts[index].token_ids for index in batch])
        self._n_rows, start, rows = ids_BT.numel(), self._written, []
        for row, index in enumerate(batch):
            first, last = self._prompts[index].question[0], len(self._prompts[index].token_ids)
            rows.append(torch.arange(first, last) + row * ids_BT.shape[1])
            self._spans[index] = (self._written, self._written + last - first)
            self._written += last - first
        self._block, self._rows_R = (start, self._written), {torch.device("cpu"): torch.cat(rows)}
        for store in (self.logits, self.selected):
            store.times_met = [0] * len(store.times_met)
        return ids_BT

    def keep(self, store: _Store, layer: int, values: Tensor) -> None:
        """Store one layer's logits [N, E] or selections [N, K] of the batch."""
        if values.shape[0] != self._n_rows:
            raise ModelError(
                f"the router of MoE layer {layer} saw {values.shape[0]} of {self._n_rows} tokens: cannot record it"
            )
        start, end = self._block
        self._devices.add(values.device)
        recorded = values.index_select(0, self._rows_on(values.device))
        store.values[layer, start:end].copy_(recorded, non_blocking=self._on_gpu)
        store.times_met[layer] += 1

    def check(self) -> None:
        """Raise ModelError unless the batch met each router once, and each selection once."""
        for store in (self.logits, self.selected):
            wrong = {layer: times for layer, times in enumerate(store.times_met) if times != 1}
            if wrong:
                raise ModelError(f"a forward must meet the router of every MoE layer once; met (layer: times) {wrong}")

    def wait(self) -> None:
        """Return when every copy from a GPU has arrived; the layers may be on several GPUs."""
        for device in self._devices:
            if device.type == "cuda":
                torch.cuda.synchronize(device)

    def sample(self, index: int) -> Routing:
        """What was recorded of one prompt, as views."""
        start, end = self._spans[index]
        z, selected = (store.values[:, start:end].permute(1, 0, 2) for store in (self.logits, self.selected))
        return Routing(z, selected)

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
