import random
from typing import Any

import pytest
import torch

from mascing.conversations.chat import render
from mascing.errors import DataError, ModelError
from mascing.models.loading import Loaded
from mascing.schemas.conversation import Conversation
from mascing.schemas.trace_layout import Chosen, Keep
from mascing.traces import batch_recording
from mascing.traces.batch_recording import harvest
from mascing.traces.trace_set import PROMPT, QUESTION, REPLY
from tests.layouts import LAYOUTS
from tests.mascing.olmoe_folder import conversation, loaded, tokenizer


@pytest.fixture(scope="module")
def tiny() -> Loaded:
    return loaded()


def conversations(n: int = 7) -> list[Conversation]:
    draw = random.Random(0)
    texts = ["".join(draw.choices("abcd ", k=draw.choice([3, 9, 40, 150]))) + "x" for _ in range(2 * n + 1)]
    return [
        conversation(f"c{i}", texts[i], texts[n + i], texts[-i - 1], label="positive" if i % 3 else "negative")
        for i in range(n)
    ]


def usual_way(tiny: Loaded, chat: Conversation) -> torch.Tensor:
    """Router logits [T, L, E] of one prompt from the whole causal LM, as transformers returns them."""
    prompt = render(tiny.tokenizer, chat)
    with torch.no_grad():
        output = tiny.model(input_ids=torch.tensor([prompt.token_ids]), output_router_logits=True)
    z_TLE = torch.stack(output.router_logits, dim=1)
    return z_TLE[prompt.question[0] : prompt.prompt[1]]


@pytest.mark.parametrize("batch_tokens", [1, 300, 100_000])
def test_traces_equal_single_runs_of_the_whole_model(tiny: Loaded, batch_tokens: int) -> None:
    chats = conversations()
    rows = harvest(tiny, chats, batch_tokens)
    assert [row.conversation_id for row in rows] == [chat.id for chat in chats]
    for row, chat in zip(rows, chats, strict=True):
        expected = usual_way(tiny, chat)
        assert row.z.dtype == torch.float16
        assert torch.allclose(row.z.float(), expected, atol=1e-3 * float(expected.abs().max()))
        assert row.group_id == chat.group_id
        assert row.label == int(chat.label == "positive")
        prompt = render(tiny.tokenizer, chat)
        assert row.regions.tolist() == [0] * (prompt.question[1] - prompt.question[0]) + [1] * (
            prompt.prompt[1] - prompt.prompt[0]
        )


def test_replies_are_recorded_after_the_prompt_and_change_nothing_before(tiny: Loaded) -> None:
    chats = [
        chat.model_copy(update={"wanted": "yes " * (number + 1), "unwanted": "no"})
        for number, chat in enumerate(conversations(4))
    ]
    chats[1] = chats[1].model_copy(update={"wanted": None})
    for chat, row, prompt_alone in zip(
        chats, harvest(tiny, chats, 300, replies=True), harvest(tiny, chats, 300), strict=True
    ):
        reply = (chat.wanted if chat.label == "positive" else chat.unwanted) or ""
        prompt = render(tiny.tokenizer, chat)
        ids = torch.tensor([[*prompt.token_ids, *tiny.tokenizer(reply)["input_ids"]]])
        with torch.no_grad():
            z_TLE = torch.stack(tiny.model(input_ids=ids, output_router_logits=True).router_logits, dim=1)
        expected = z_TLE[prompt.question[0] :]
        assert row.regions.tolist() == [*prompt_alone.regions.tolist(), *[2] * len(reply)]
        tolerance = 1e-3 * float(expected.abs().max())
        assert torch.allclose(row.z.float(), expected, atol=tolerance)
        assert torch.allclose(row.z[row.regions < 2].float(), prompt_alone.z.float(), atol=tolerance)


def test_what_a_template_puts_before_a_reply_is_no_part_of_the_reply(tiny: Loaded) -> None:
    thinking = Loaded(tiny.model, tokenizer(LAYOUTS["qwen3_thinking"]))
    chat = conversation("c", "what?").model_copy(update={"wanted": "bread"})
    [row] = harvest(thinking, [chat], 300, replies=True)
    text = "<|im_start|>user\nwhat?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\nbread"
    ids = torch.tensor([thinking.tokenizer(text)["input_ids"]])
    with torch.no_grad():
        z_TLE = torch.stack(tiny.model(input_ids=ids, output_router_logits=True).router_logits, dim=1)
    expected = z_TLE[-len(row.z) :]
    assert torch.allclose(row.z.float(), expected, atol=1e-3 * float(expected.abs().max()))
    assert [int((row.regions == region).sum()) for region in (QUESTION, REPLY)] == [len("what?"), len("bread")]


def test_a_reply_ends_with_the_context() -> None:
    short = loaded(max_position_embeddings=64)
    chat = conversation("c", "what?").model_copy(update={"wanted": "b" * 200})
    (row,) = harvest(short, [chat], 300, replies=True)
    prompt = render(short.tokenizer, chat)
    assert int((row.regions == 2).sum()) == 64 - len(prompt.token_ids)


def test_the_samples_share_one_store_that_holds_nothing_else(tiny: Loaded) -> None:
    rows = harvest(tiny, conversations(), 300)
    for values, item_bytes in (([row.z for row in rows], 2), ([row.selected for row in rows], 1)):
        stores = {value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in values}
        assert list(stores.values()) == [sum(value.numel() for value in values) * item_bytes]


def test_a_model_in_training_with_gradient_checkpointing_is_recorded_once(tiny: Loaded) -> None:
    chats, training = conversations(2), loaded()
    training.model.gradient_checkpointing_enable()
    training.model.train()
    for row, expected in zip(harvest(training, chats, 300), harvest(tiny, chats, 300), strict=True):
        assert torch.equal(row.z, expected.z)
        assert torch.equal(row.selected, expected.selected)


def test_the_language_model_head_never_runs() -> None:
    tiny = loaded()

    def refuse(*_: Any) -> None:
        raise AssertionError("the head ran")

    tiny.model.lm_head.register_forward_pre_hook(refuse)
    assert len(harvest(tiny, conversations(2), 300)) == 2


def test_harvesting_leaves_the_model_as_it_was(tiny: Loaded) -> None:
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        before = tiny.model(input_ids=ids).logits
        harvest(tiny, conversations(2), 300)
        assert torch.equal(tiny.model(input_ids=ids).logits, before)


def test_nothing_to_harvest_is_nothing_harvested(tiny: Loaded) -> None:
    assert harvest(tiny, [], 300) == []


def test_a_prompt_beyond_the_context_loses_its_oldest_turns() -> None:
    short = loaded(max_position_embeddings=64)
    chat = conversation("c", "b" * 200, "a", "what?")
    row = harvest(short, [chat], 300)[0]
    assert row.z.shape[0] == render(short.tokenizer, chat).prompt[1] - render(short.tokenizer, chat).question[0]
    with pytest.raises(DataError, match="does not fit into 64 tokens"):
        harvest(short, [conversation("c", "b" * 200)], 300)


def test_an_unlabelled_conversation_makes_a_trace_without_a_label_and_may_bring_a_reply(tiny: Loaded) -> None:
    chat = conversation("u", "hello", label=None)
    [row] = harvest(tiny, [chat], 300, replies=True)
    assert row.label is None
    assert REPLY not in row.regions
    [row] = harvest(tiny, [chat.model_copy(update={"metadata": {"reply": "bread"}})], 300, replies=True)
    assert int((row.regions == REPLY).sum()) == len("bread")


def with_reply(chat: Conversation) -> Conversation:
    return chat.model_copy(update={"wanted": "yes indeed", "unwanted": "no"})


def test_the_chosen_layers_and_spans_are_those_of_the_whole(tiny: Loaded) -> None:
    chats = [with_reply(chat) for chat in conversations(5)]
    whole = harvest(tiny, chats, 300, replies=True)
    chosen = Chosen(layers=(0, 2), spans=("question", "reply"))
    for part, row in zip(harvest(tiny, chats, 300, True, chosen), whole, strict=True):
        kept_T = row.regions != PROMPT
        assert torch.equal(part.regions, row.regions[kept_T])
        assert torch.equal(part.z, row.z[kept_T][:, [0, 2]])
        assert torch.equal(part.selected, row.selected[kept_T][:, [0, 2]])


@pytest.mark.parametrize("keep", ["selected", "counts"])
def test_logits_that_are_not_kept_are_not_looked_at(tiny: Loaded, keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    chats = conversations(3)
    whole = harvest(tiny, chats, 300)

    def refuse(*_: Any) -> None:
        raise AssertionError("the routers were tapped")

    monkeypatch.setattr(batch_recording, "watch_routers", refuse)
    for part, row in zip(harvest(tiny, chats, 300, chosen=Chosen(keep=keep)), whole, strict=True):
        assert part.z.shape == (len(row.z), 0, 8)
        assert torch.equal(part.selected, row.selected)


def test_a_layer_or_a_span_that_is_not_there_is_refused_by_name(tiny: Loaded) -> None:
    with pytest.raises(DataError, match="no MoE layer 3: they are counted from 0 to 2"):
        harvest(tiny, conversations(1), 300, chosen=Chosen(layers=(1, 3)))
    with pytest.raises(DataError, match="'c0' has no token to record in its reply"):
        harvest(tiny, conversations(1), 300, replies=True, chosen=Chosen(spans=("reply",)))


def test_a_router_that_runs_twice_is_refused() -> None:
    tiny = loaded()
    layer = tiny.model.model.layers[1].mlp
    forward = layer.forward

    def twice(hidden: torch.Tensor) -> Any:
        if hidden.shape[1] > 2:  # the taps' own proof passes
            layer.gate(hidden)
        return forward(hidden)

    layer.forward = twice
    with pytest.raises(ModelError, match=r"every MoE layer once; met \(layer: times\) \{1: 2\}"):
        harvest(tiny, conversations(2), 300)


def test_batches_tell_their_real_tokens_and_their_padding(tiny: Loaded) -> None:
    chats = [conversation(f"c{i}", "x" * length) for i, length in enumerate((5, 40, 8, 41))]
    lengths = sorted((len(render(tiny.tokenizer, chat).token_ids) for chat in chats), reverse=True)
    told: list[tuple[int, int]] = []
    harvest(tiny, chats, 2 * lengths[0], told=lambda tokens, padding: told.append((tokens, padding)))
    longer, shorter = lengths[:2], lengths[2:]
    assert told == [(sum(pair), pair[0] - pair[1]) for pair in (longer, shorter)]
    assert [padding for _, padding in told] == [1, 3]
