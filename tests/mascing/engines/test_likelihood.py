"""The likelihood of a given reply counts its own tokens, after all that the template puts before a reply."""

import tracemalloc

import pytest
import torch

from mascing.engines.likelihood import ReplyBatches, contrast_batches
from mascing.errors import DataError
from mascing.models.loading import Loaded
from mascing.schemas.conversation import Conversation
from tests.layouts import LAYOUTS
from tests.mascing.olmoe_folder import conversation, model, tokenizer

LEAD_INS = {"chatml": "", "qwen3_thinking": "\n</think>\n\n", "harmony": "<|channel|>final<|message|>"}
CHATS = [
    conversation(f"c{number}", "what?" * number).model_copy(update={"wanted": "I cannot", "unwanted": "Sure: bread"})
    for number in (1, 3, 2)
]


def expected(loaded: Loaded, chat: Conversation, lead_in: str, reply: str) -> float:
    """log p(reply | prompt and lead-in), token by token, without a batch."""
    turns = [{"role": message.role, "content": message.content} for message in chat.messages]
    before = loaded.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True) + lead_in
    first = len(loaded.tokenizer(before)["input_ids"])
    ids = torch.tensor([loaded.tokenizer(before + reply)["input_ids"]])
    with torch.no_grad():
        chosen = loaded.model(ids).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])
    return float(chosen[first - 1 :].sum())


@pytest.mark.parametrize(("layout", "lead_in"), LEAD_INS.items())
def test_the_margin_is_that_of_the_replies_where_the_template_puts_them(layout: str, lead_in: str) -> None:
    loaded = Loaded(model(), tokenizer(LAYOUTS[layout]))
    with torch.no_grad():
        margins = torch.cat([batch.margins(loaded.model) for batch in contrast_batches(loaded, CHATS, 2)])
    by_length = [CHATS[0], CHATS[2], CHATS[1]]
    wanted, unwanted = (
        torch.tensor([expected(loaded, chat, lead_in, reply) for chat in by_length])
        for reply in ("I cannot", "Sure: bread")
    )
    assert torch.allclose(margins, wanted - unwanted, atol=1e-3)


def test_both_replies_keep_the_same_prompt_where_the_longer_exceeds_the_context() -> None:
    loaded = Loaded(model(max_position_embeddings=64), tokenizer())
    chat = conversation("c", "b" * 50, "yes", "what?")
    [batch] = ReplyBatches(loaded, [chat], lambda _: ("no", "n" * 20), 1)
    short, long = batch.ids_BT.tolist()
    assert len(long) == 64
    assert short[:44] == long[:44]
    assert batch.reply_BR.sum(dim=1).tolist() == [2, 20]
    with pytest.raises(DataError, match="'c': its final user turn does not fit into 4 tokens"):
        ReplyBatches(loaded, [chat], lambda _: ("no", "n" * 60), 1)


def test_a_part_of_a_batch_scores_its_replies_as_the_batch_does() -> None:
    loaded = Loaded(model(), tokenizer())
    [batch] = contrast_batches(loaded, CHATS, 3)
    with torch.no_grad():
        whole = batch.margins(loaded.model)
        parts = torch.cat([batch.part(chosen).margins(loaded.model) for chosen in (range(1), range(1, 3))])
    assert len(batch) == 3
    assert torch.allclose(whole, parts, atol=1e-5)


def test_batches_hold_no_conversation_between_reads() -> None:
    loaded = Loaded(model(), tokenizer())
    held = []
    for n in (200, 2000):
        asked = (conversation(f"c{number}", "what? " * 50) for number in range(n))
        chats = [chat.model_copy(update={"wanted": "I cannot", "unwanted": "Sure: bread"}) for chat in asked]
        contrast_batches(loaded, chats[:2], 2)
        tracemalloc.start()
        batches = contrast_batches(loaded, chats, 8)
        held.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        assert len(batches) == n // 8
    assert held[1] - held[0] < 1800 * 100
