"""Replies: equal to a naive greedy loop, whatever the batch, the mask or the checkpoint's sampling settings."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from mascing.conversations.chat import render
from mascing.engines.generation import complete, generate, prompts_of
from mascing.engines.sampling import RowSampler
from mascing.errors import DataError, LogitsError
from mascing.masks.mask import Mask
from mascing.models.loading import Loaded
from mascing.routers.spec import inspect_routers
from mascing.schemas.config import GenerationConfig
from mascing.schemas.conversation import Conversation
from mascing.steering.steer import steer
from tests.mascing import olmoe_folder

GENERATION = GenerationConfig(max_new_tokens=5, batch_size=3)
CONVERSATIONS = [
    olmoe_folder.conversation(f"c{i}", *(["tell me", "what?"] * (i % 3)), "word " * (1 + 5 * i % 7) + str(i))
    for i in range(7)
]


@pytest.fixture(scope="module")
def model() -> Any:
    return olmoe_folder.model(eos_token_id=2)


@pytest.fixture
def loaded(model: Any) -> Loaded:
    model.generation_config.eos_token_id = 2
    return Loaded(model, olmoe_folder.tokenizer())


@pytest.fixture
def mask(model: Any) -> Mask:
    generator = torch.Generator().manual_seed(0)
    return Mask.from_bias(3 * torch.randn(3, 8, generator=generator), inspect_routers(model))


def naive(loaded: Loaded, conversation: Conversation, ends: Sequence[int], steps: int = 5) -> list[int]:
    """One conversation, no cache, no batch, no padding."""
    ids = list(render(loaded.tokenizer, conversation).token_ids)
    reply: list[int] = []
    with torch.no_grad():
        for _ in range(steps):
            token = int(loaded.model(input_ids=torch.tensor([ids + reply]), use_cache=False).logits[0, -1].argmax())
            if token in ends:
                break
            reply.append(token)
    return reply


def texts(loaded: Loaded, conversations: Sequence[Conversation], mask: Mask | None, how: GenerationConfig) -> list[str]:
    return [reply.text for reply in generate(loaded, conversations, mask, how)]


def expected(loaded: Loaded, ends: Sequence[int] = (2,)) -> list[str]:
    replies = [naive(loaded, conversation, ends) for conversation in CONVERSATIONS]
    return [loaded.tokenizer.decode(reply, skip_special_tokens=True) for reply in replies]


def test_replies_are_the_greedy_ones_in_the_order_given(loaded: Loaded) -> None:
    replies = texts(loaded, CONVERSATIONS, None, GENERATION)
    assert replies == expected(loaded)
    assert len(set(replies)) > 3


def test_a_mask_steers_every_token_and_nothing_afterwards(loaded: Loaded, mask: Mask) -> None:
    plain = expected(loaded)
    with steer(loaded.model, mask):
        steered = expected(loaded)
    assert texts(loaded, CONVERSATIONS, mask, GENERATION) == steered
    assert steered != plain
    assert texts(loaded, CONVERSATIONS, None, GENERATION) == plain


@pytest.mark.parametrize("batch_size", [1, 64])
def test_the_batch_does_not_matter(loaded: Loaded, mask: Mask, batch_size: int) -> None:
    other = GENERATION.model_copy(update={"batch_size": batch_size})
    assert generate(loaded, CONVERSATIONS, mask, other) == generate(loaded, CONVERSATIONS, mask, GENERATION)


def test_rendered_once_or_each_time_is_the_same(loaded: Loaded, mask: Mask) -> None:
    prompts = prompts_of(loaded, CONVERSATIONS, GENERATION)
    for steering in (mask, None):
        assert complete(loaded, prompts, steering, GENERATION) == generate(loaded, CONVERSATIONS, steering, GENERATION)


def test_a_reply_stops_at_any_end_token_of_the_checkpoint(loaded: Loaded) -> None:
    unstopped = [naive(loaded, conversation, ()) for conversation in CONVERSATIONS]
    ends = sorted({unstopped[0][2], unstopped[1][0]})
    loaded.model.generation_config.eos_token_id = ends
    replies = texts(loaded, CONVERSATIONS, None, GENERATION)
    assert replies == expected(loaded, [*ends, loaded.tokenizer.eos_token_id])
    assert replies[1] == ""


@pytest.mark.parametrize("end", ["<|im_end|>", "<end_of_turn>"])
@pytest.mark.parametrize("batch", [1, 2])
def test_a_reply_ends_where_the_template_ends_a_turn(model: Any, end: str, batch: int) -> None:
    """The files of a fine-tuned model may name only the end of text of its base model.

    `<|im_end|>` is a token of this tokenizer, `<end_of_turn>` thirteen.
    """
    model.generation_config.eos_token_id = None
    tokenizer = olmoe_folder.tokenizer(olmoe_folder.CHATML.replace("<|im_end|>", end))
    tokenizer.eos_token = "<pad>"
    said = tokenizer(f"I cannot give it.{end}\n<|im_start|>user\nThanks{end}\n")["input_ids"]
    with speaking(model, said):
        [reply, *_] = generate(
            Loaded(model, tokenizer), CONVERSATIONS[:batch], None, GenerationConfig(max_new_tokens=len(said))
        )
    assert (reply.text, reply.cut_off) == ("I cannot give it.", False)


@contextmanager
def speaking(model: Any, said: Sequence[int]) -> Iterator[None]:
    """The model says these tokens, whatever it is asked."""
    tokens = iter(said)

    def say(_module: Any, _inputs: Any, logits: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.one_hot(torch.tensor(next(tokens)), logits.shape[-1]).float().expand_as(logits)

    handle = model.lm_head.register_forward_hook(say)
    try:
        yield
    finally:
        handle.remove()


def test_a_tokenizer_without_padding_token_will_do(loaded: Loaded) -> None:
    replies = texts(loaded, CONVERSATIONS, None, GENERATION)
    loaded.tokenizer.pad_token = None
    loaded.model.generation_config.pad_token_id = None
    try:
        assert texts(loaded, CONVERSATIONS, None, GENERATION) == replies
    finally:
        loaded.model.generation_config.pad_token_id = 0


def test_sampling_settings_of_the_checkpoint_stand_aside_and_come_back(loaded: Loaded) -> None:
    recommended = loaded.model.generation_config
    sampling = {"do_sample": True, "temperature": 5.0, "repetition_penalty": 3.0, "min_new_tokens": 5}
    replies = texts(loaded, CONVERSATIONS, None, GENERATION)
    loaded.model.generation_config = type(recommended)(**recommended.to_dict() | sampling)
    try:
        before = loaded.model.generation_config.to_dict()
        assert texts(loaded, CONVERSATIONS, None, GENERATION) == replies
        assert loaded.model.generation_config.to_dict() == before
    finally:
        loaded.model.generation_config = recommended


def test_a_prompt_beyond_the_context_loses_its_oldest_turns(loaded: Loaded) -> None:
    long = olmoe_folder.conversation("long", "x" * 600, "yes", "the end")
    (prompt,) = prompts_of(loaded, [long], GENERATION)
    assert len(prompt.token_ids) == 512 - GENERATION.max_new_tokens
    with pytest.raises(DataError, match="'late'"):
        prompts_of(loaded, [olmoe_folder.conversation("late", "x" * 600)], GENERATION)


def test_no_conversations_give_no_replies(loaded: Loaded) -> None:
    assert generate(loaded, [], None, GENERATION) == []


SAMPLED = GENERATION.model_copy(update={"temperature": 1.0})


def test_sampled_replies_do_not_depend_on_the_batch(loaded: Loaded, mask: Mask) -> None:
    together = generate(loaded, CONVERSATIONS, mask, SAMPLED)
    assert together == generate(loaded, CONVERSATIONS, mask, SAMPLED.model_copy(update={"batch_size": 7}))
    assert together[::-1] == generate(loaded, CONVERSATIONS[::-1], mask, SAMPLED)
    assert together != generate(loaded, CONVERSATIONS, mask, GENERATION)


def test_low_temperatures_are_nearly_greedy(loaded: Loaded) -> None:
    greedy = generate(loaded, CONVERSATIONS, None, GENERATION)
    assert generate(loaded, CONVERSATIONS, None, GENERATION.model_copy(update={"temperature": 1e-4})) == greedy


@pytest.mark.parametrize("vocabulary", [1, 3, 10, 16])
def test_tokens_are_drawn_as_often_as_their_probability_says(vocabulary: int) -> None:
    scores_V = torch.linspace(0.0, 3.0, vocabulary).roll(2)
    shares_V = drawn(scores_V, 4000).bincount(minlength=vocabulary) / 4000
    assert torch.allclose(shares_V, (scores_V / 2).softmax(0), atol=0.03)


def test_like_scores_draw_like_tokens() -> None:
    """Steered and unsteered replies share their noise."""
    scores_V = torch.linspace(0.0, 3.0, 40)
    other_V = scores_V + 0.1 * torch.linspace(0.0, 9.0, 40).sin()
    assert (drawn(scores_V, 2000) == drawn(other_V, 2000)).float().mean() > 0.9
    assert (drawn(scores_V, 2000) == drawn(other_V, 2000, "d")).float().mean() < 0.2


def drawn(scores_V: torch.Tensor, n: int, name: str = "c") -> torch.Tensor:
    """The first token of each of ``n`` rows, at temperature 2."""
    sampler = RowSampler([f"{name}{row}" for row in range(n)], temperature=2.0)
    return sampler(torch.zeros(n, 1), scores_V.repeat(n, 1)).argmax(1)


def test_batches_tell_their_real_tokens_and_their_padding(loaded: Loaded) -> None:
    loaded.model.generation_config.eos_token_id = list(range(100))  # a third of all tokens end a reply
    prompts = prompts_of(loaded, CONVERSATIONS, SAMPLED)
    told: list[tuple[int, int]] = []
    replies = complete(loaded, prompts, None, SAMPLED, lambda tokens, padding: told.append((tokens, padding)))
    read = [len(prompt.token_ids) for prompt in prompts]
    written = [min(SAMPLED.max_new_tokens, reply.tokens + 1) for reply in replies]  # with the token that ends it
    assert len(set(written)) > 1, "equal replies need no padding"
    longest_first = sorted(range(len(prompts)), key=lambda index: (-read[index], index))
    expected = []
    for batch in (longest_first[:3], longest_first[3:6], longest_first[6:]):
        real = sum(read[index] + written[index] for index in batch)
        longest = max(read[index] for index in batch) + max(written[index] for index in batch)
        expected.append((real, len(batch) * longest - real))
    assert told == expected


def test_a_row_whose_scores_are_not_numbers_is_refused(loaded: Loaded) -> None:
    with torch.no_grad():
        loaded.model.get_output_embeddings().weight.fill_(float("nan"))
    with pytest.raises(LogitsError, match="logits are NaN"):
        generate(loaded, CONVERSATIONS[:8], None, GENERATION)
