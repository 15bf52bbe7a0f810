from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from mascing.conversations.chat import Prompt, render
from mascing.errors import DataError
from tests.mascing.olmoe_folder import CHATML, conversation, tokenizer

THINKING = (
    "{% for m in messages %}"
    "{% if m.role == 'assistant' %}{% set text = m.content.split('</think>')[-1].lstrip() %}"
    "{% else %}{% set text = m.content %}{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ text }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n\n</think>\n\n{% endif %}"
)
SYSTEM_IN_LAST_TURN = (
    "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set rest = messages[1:] %}"
    "{% else %}{% set system = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}{% if m.role == 'user' %}[INST] {% if loop.last and system %}{{ system }}\n\n{% endif %}"
    "{{ m.content }}[/INST]{% else %} {{ m.content }}</s>{% endif %}{% endfor %}"
)
STRIPPING = "{% for m in messages %}[{{ m.role }}] {{ m.content | trim }}\n{% endfor %}[assistant]"
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + CHATML
)
TWICE = "{{ messages[-1].content }} {{ messages[-1].content }}"
DROPPED = "{% for m in messages[:-1] %}{{ m.content }}{% endfor %}[assistant]"

CHATML_END = "<|im_end|>\n<|im_start|>assistant\n"


def read(tok: Any, prompt: Prompt) -> tuple[str, str, str]:
    """The text before the question, the question and the prompt, back from the token spans."""
    ids, (start, end) = list(prompt.token_ids), prompt.question
    assert prompt.prompt == (end, len(ids))
    return tok.decode(ids[:start]), tok.decode(ids[start:end]), tok.decode(ids[end:])


@pytest.mark.parametrize(
    ("template", "end"),
    [
        (CHATML, CHATML_END),
        (THINKING, CHATML_END + "<think>\n\n</think>\n\n"),
        (SYSTEM_IN_LAST_TURN, "[/INST]"),
        (STRIPPING, "\n[assistant]"),
    ],
)
def test_spans_of_a_question_that_stands_everywhere(template: str, end: str) -> None:
    tok = tokenizer(template)
    chat = conversation("c", "assistant", "<think>assistant</think>assistant", "assistant", system="assistant")
    before, question, after = read(tok, render(tok, chat))
    assert question == "assistant"
    assert after == end
    assert "assistant" in before


def test_a_stripped_question_is_found_without_its_blanks() -> None:
    tok = tokenizer(STRIPPING)
    assert read(tok, render(tok, conversation("c", "  what now?\n")))[1:] == ("what now?", "\n[assistant]")


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.text("ab <|>\n", min_size=1).filter(str.strip), min_size=1, max_size=5).filter(
        lambda texts: len(texts) % 2 == 1
    ),
    system=st.sampled_from([None, "a", "FINALUSERTURN"]),
)
def test_spans_cut_the_rendered_text_at_the_last_turn(texts: list[str], system: str | None) -> None:
    tok = tokenizer()
    chat = conversation("c", *texts, system=system)
    turns = [{"role": m.role, "content": m.content} for m in chat.messages]
    full = tok.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    parts = read(tok, render(tok, chat))
    assert parts[1:] == (texts[-1], CHATML_END)
    assert "".join(parts) == full


def test_a_word_like_the_stand_in_does_not_confuse() -> None:
    tok = tokenizer()
    chat = conversation("c", "FINALUSERTURN", "FINALUSERTURNX", "is FINALUSERTURN a word?")
    assert read(tok, render(tok, chat))[1] == "is FINALUSERTURN a word?"


def test_characters_of_several_tokens_stay_whole() -> None:
    tok = tokenizer()
    assert read(tok, render(tok, conversation("c", "naïve 火?")))[1] == "naïve 火?"


def test_a_token_that_straddles_the_border_belongs_to_the_question() -> None:
    straddling = Tokenizer(models.BPE())
    straddling.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    straddling.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=270, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    straddling.train_from_iterator(["user: zz? end"] * 9, trainer)
    fast: Any = PreTrainedTokenizerFast
    tok = fast(tokenizer_object=straddling)
    tok.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %} end"
    prompt = render(tok, conversation("c", "zz?"))
    assert tok.decode(list(prompt.token_ids)) == "user: zz? end"
    assert len(prompt.token_ids) == 1
    assert prompt.question == (0, 1)
    assert prompt.prompt == (1, 1)


def test_a_tokenizer_without_offsets_gives_the_same_text_spans() -> None:
    tok = ByT5Tokenizer()
    assert not tok.is_fast
    tok.chat_template = STRIPPING
    chat = conversation("c", "wie heißt du?", "ich?", "wie heißt du?")
    before, question, after = read(tok, render(tok, chat))
    assert (question, after) == ("wie heißt du?", "\n[assistant]")
    assert before == "[user] wie heißt du?\n[assistant] ich?\n[user] "


def test_a_template_that_prints_the_date_prints_the_same_one_every_day() -> None:
    tok = tokenizer("Today is {{ strftime_now('%d %B %Y') }}. {% for m in messages %}{{ m.content }}{% endfor %} ->")
    before, question, after = read(tok, render(tok, conversation("c", "Which day?")))
    assert (before, question, after) == ("Today is 01 January 2026. ", "Which day?", " ->")


def test_truncation_takes_the_oldest_tokens() -> None:
    tok = tokenizer()
    chat = conversation("c", "long ago", "yes", "and now?")
    full = render(tok, chat)
    short = render(tok, chat, max_tokens=50)
    assert short.token_ids == full.token_ids[-50:]
    assert read(tok, short)[1:] == ("and now?", CHATML_END)
    assert render(tok, chat, max_tokens=10_000) == full


def test_truncation_never_cuts_into_the_question() -> None:
    tok = tokenizer()
    chat = conversation("c", "long ago", "yes", "and now?")
    full = render(tok, chat)
    needed = len(full.token_ids) - full.question[0]
    assert render(tok, chat, max_tokens=needed).question == (0, len("and now?"))
    with pytest.raises(DataError, match=f"'c'.*does not fit into {needed - 1} tokens"):
        render(tok, chat, max_tokens=needed - 1)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "no chat template"),
        (NO_SYSTEM, "'c'.*System role not supported"),
        (TWICE, "'c'.*exactly once"),
        (DROPPED, "'c'.*exactly once"),
    ],
)
def test_templates_that_cannot_serve_are_refused(template: str | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        render(tokenizer(template), conversation("c", "hello", system="be kind"))
