"""Record the routing of conversations, at about the speed of the model's own decoder.

Shapes: B batch, T token of a batch with padding, R recorded token, L recorded MoE layer, E expert, K selected expert.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mascing.conversations.chat import Prompt, render, with_replies
from mascing.errors import DataError, ModelError
from mascing.models.batching import Told, length_sorted_batches, right_padded, untold
from mascing.models.loading import Loaded
from mascing.routers.selected_experts import watch_selections
from mascing.routers.spec import RouterSpec, inspect_routers
from mascing.routers.tap import watch_routers
from mascing.schemas.conversation import Conversation
from mascing.schemas.trace_layout import EVERYTHING, REGIONS, Chosen, Region
from mascing.traces.layouts import layers_of
from mascing.traces.trace_set import SampleTrace, selection_dtype


def harvest(
    loaded: Loaded,
    conversations: Sequence[Conversation],
    batch_tokens: int,
    replies: bool = False,
    chosen: Chosen = EVERYTHING,
    told: Told = untold,
) -> list[SampleTrace]:
    """The routing of each conversation's final user turn and generation prompt, in the order given.

    With ``replies``, a conversation with a reply also gets the routing of that reply, teacher-forced after the prompt:
    the model's own reply, or without a label the one that its file brings. Prompts beyond the model's context lose
    their oldest tokens, replies their last ones. Of all this, the ``chosen`` part is recorded; counts are made from
    the ids of the selected experts, which are therefore recorded for them too. Raises DataError for a conversation that
    cannot be rendered or has no token in the chosen spans, and ModelError if a router does not see every token or if
    its selection cannot be observed.
    """
    return traced(
        loaded.tokenizer,
        _context(loaded.model),
        conversations,
        lambda prompts: record_prompts(loaded.model, prompts, batch_tokens, chosen, told),
        replies,
        chosen,
    )


def traced(
    tokenizer: Any,
    context: int | None,
    conversations: Sequence[Conversation],
    record: Callable[[Sequence[Prompt]], Sequence["Routing"]],
    replies: bool = False,
    chosen: Chosen = EVERYTHING,
) -> list[SampleTrace]:
    """The same, whatever ``record`` reads the chosen routing of prompts with; ``context`` is the tokens they may have.

    Raises DataError as :func:`harvest` does.
    """
    prompts = [_prompt(tokenizer, context, conversation, replies) for conversation in conversations]
    regions = [_regions(prompt, chosen.spans) for prompt in prompts]
    for conversation, regions_T in zip(conversations, regions, strict=True):
        if not len(regions_T):
            spans = " and ".join(chosen.spans)
            raise DataError(f"conversation {conversation.id!r} has no token to record in its {spans}")
    return [
        SampleTrace(
            conversation.id,
            conversation.group_id,
            None if conversation.label is None else int(conversation.label == "positive"),
            routing.z,
            regions_T,
            routing.selected,
        )
        for conversation, regions_T, routing in zip(conversations, regions, record(prompts), strict=True)
    ]


class Routing(NamedTuple):
    """The recorded tokens of one prompt, on the host.

    ``z`` holds the raw router logits, float16 [T, L, E], and [T, 0, E] where none are kept; ``selected`` the ids of the
    experts that the model selected itself, :func:`selection_dtype` [T, L, K].
    """

    z: Tensor
    selected: Tensor


def chosen_routing(prompt: Prompt, z_TLE: Tensor, ids_TLK: Tensor, chosen: Chosen = EVERYTHING) -> Routing:
    """The chosen part of the routing of all tokens and layers of a prompt. Raises DataError for layers not there."""
    n_layers, n_experts = z_TLE.shape[1:]
    layers, tokens_R = list(layers_of(chosen, n_layers)), tokens_in(prompt, chosen.spans)
    kept = layers if chosen.keep == "logits" else []
    return Routing(
        z_TLE[tokens_R][:, kept].to(torch.float16), ids_TLK[tokens_R][:, layers].to(selection_dtype(n_experts))
    )


def record_prompts(
    model: Any, prompts: Sequence[Prompt], batch_tokens: int, chosen: Chosen = EVERYTHING, told: Told = untold
) -> list[Routing]:
    """The chosen part of the routing of each prompt, from the start of its question to its end, from one forward.

    Runs the decoder alone (no language-model head, no cache) on length-sorted, right-padded batches of at most
    ``batch_tokens`` tokens. What is not chosen is not copied, and routers whose logits are not kept are not tapped. The
    results are views of the tensors that the routing is written to, so nothing is held twice. ``told`` hears of each
    batch.

    Raises ModelError if a router does not see every token exactly once or its selection cannot be observed, and
    DataError for layers that the model does not have.
    """
    if not prompts:
        return []
    recorder = _Recorder(prompts, inspect_routers(model), model.device, chosen)
    with torch.no_grad(), ExitStack() as watched:
        for store, watch in recorder.watched:
            watched.enter_context(watch(model, partial(recorder.keep, store)))
        decoder = model.get_decoder()
        lengths = [len(prompt.token_ids) for prompt in prompts]
        for batch in length_sorted_batches(lengths, batch_tokens):
            ids_BT = recorder.begin(batch)
            decoder(input_ids=ids_BT.to(model.device), use_cache=False)
            recorder.check()
            real = sum(lengths[index] for index in batch)
            told(real, ids_BT.numel() - real)
        recorder.wait()
    return [recorder.sample(index) for index in range(len(prompts))]


class _Store:
    """What is recorded of the kept layers, [L, R, E or K], and how often the batch met each layer of the model."""

    def __init__(self, shape: tuple[int, int, int], dtype: torch.dtype, pinned: bool, n_layers: int) -> None:
        self.values = torch.empty(shape, dtype=dtype, pin_memory=pinned)
        self.times_met = [0] * n_layers


class _Recorder:
    """Receives the routing batch by batch and stores that of the recorded tokens on the host.

    The stores hold one batch after another. The rows of one layer and batch are a contiguous block, written by a single
    converting copy. For a model on a GPU the stores are pinned, and the copies overlap with the forward.
    """

    def __init__(self, prompts: Sequence[Prompt], spec: RouterSpec, device: torch.device, chosen: Chosen) -> None:
        self._prompts = prompts
        self._on_gpu = device.type == "cuda"
        self._chosen = [tokens_in(prompt, chosen.spans) for prompt in prompts]
        layers = layers_of(chosen, spec.n_layers)
        self._place = {layer: place for place, layer in enumerate(layers)}
        total = sum(map(len, self._chosen))
        n_logits = len(layers) if chosen.keep == "logits" else 0
        self._logits = _Store((n_logits, total, spec.n_experts), torch.float16, self._on_gpu, spec.n_layers)
        ids = (len(layers), total, spec.top_k)
        self._selected = _Store(ids, selection_dtype(spec.n_experts), self._on_gpu, spec.n_layers)
        self.watched: list[tuple[_Store, Callable[..., AbstractContextManager[object]]]] = [
            *([(self._logits, watch_routers)] if n_logits else []),
            (self._selected, watch_selections),
        ]
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
            chosen_R = self._chosen[index]
            rows.append(chosen_R + row * ids_BT.shape[1])
            self._spans[index] = (self._written, self._written + len(chosen_R))
            self._written += len(chosen_R)
        self._block, self._rows_R = (start, self._written), {torch.device("cpu"): torch.cat(rows)}
        for store, _ in self.watched:
            store.times_met = [0] * len(store.times_met)
        return ids_BT

    def keep(self, store: _Store, layer: int, values: Tensor) -> None:
        """Store one layer's logits [N, E] or selections [N, K] of the batch."""
        if values.shape[0] != self._n_rows:
            raise ModelError(
                f"the router of MoE layer {layer} saw {values.shape[0]} of {self._n_rows} tokens: cannot record it"
            )
        store.times_met[layer] += 1
        if layer not in self._place:
            return
        start, end = self._block
        self._devices.add(values.device)
        recorded = values.index_select(0, self._rows_on(values.device))
        store.values[self._place[layer], start:end].copy_(recorded, non_blocking=self._on_gpu)

    def check(self) -> None:
        """Raise ModelError unless the batch met each router once, and each selection once."""
        for store, _ in self.watched:
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
        z, selected = (store.values[:, start:end].permute(1, 0, 2) for store in (self._logits, self._selected))
        return Routing(z, selected)

    def _rows_on(self, device: torch.device) -> Tensor:
        if device not in self._rows_R:
            self._rows_R[device] = self._rows_R[torch.device("cpu")].to(device)
        return self._rows_R[device]


def _prompt(tokenizer: Any, context: int | None, conversation: Conversation, replies: bool) -> Prompt:
    reply = _reply(conversation)
    if not replies or not reply:
        return render(tokenizer, conversation, context)
    [prompt] = with_replies(tokenizer, conversation, [reply])
    return prompt.fitted(context) if context is not None else prompt


def _reply(conversation: Conversation) -> str | None:
    """The model's own reply; of a conversation without a label, the assistant turn that its file ends with."""
    return conversation.own_reply if conversation.label else conversation.metadata.get("reply")


def _context(model: Any) -> int | None:
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


def _ends(prompt: Prompt) -> dict[Region, tuple[int, int]]:
    """The tokens [start, end) of each span of a prompt; they follow each other."""
    return {"question": prompt.question, "prompt": prompt.prompt, "reply": (prompt.prompt[1], len(prompt.token_ids))}


def tokens_in(prompt: Prompt, spans: Sequence[Region]) -> Tensor:
    """The positions of the prompt's tokens in these spans, in order: int64 [R]."""
    return torch.cat([torch.arange(*ends) for span, ends in _ends(prompt).items() if span in spans])


def _regions(prompt: Prompt, spans: Sequence[Region]) -> Tensor:
    counts = [(number, end - start) for number, (start, end) in enumerate(_ends(prompt).values())]
    kept = [[number] * count for number, count in counts if REGIONS[number] in spans]
    return torch.tensor([number for numbers in kept for number in numbers], dtype=torch.uint8)
