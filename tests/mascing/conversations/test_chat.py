from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from mascing.conversations.chat import Prompt, check, render, render_recent, with_replies
from mascing.errors import DataError
from mascing.schemas.conversation import Message
from tests.layouts import LAYOUTS
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


def test_the_window_of_a_live_conversation_keeps_the_system_turn_and_starts_with_a_user() -> None:
    tok = tokenizer()
    chat = conversation("c", "first", "one", "second", "two", "third", system="be brief")
    full = render_recent(tok, chat, None)
    assert full == render(tok, chat) == render_recent(tok, chat, len(full.token_ids))
    kept = conversation("c", "second", "two", "third", system="be brief")
    room = len(render(tok, kept).token_ids)
    assert render_recent(tok, chat, len(full.token_ids) - 1) == render_recent(tok, chat, room) == render(tok, kept)
    last = conversation("c", "third", system="be brief")
    least = len(render(tok, last).token_ids)
    assert render_recent(tok, chat, room - 1) == render_recent(tok, chat, least) == render(tok, last)
    with pytest.raises(DataError, match=f"'c'.*take {least} tokens together, and {least - 1} fit"):
        render_recent(tok, chat, least - 1)


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


SWITCHED = (
    "{% set off = namespace(v=false) %}{% for m in messages %}{% if m.role == 'user' and '/no_think' in m.content %}"
    "{% set off.v = true %}{% endif %}<|{{ m.role }}|>{{ m.content.replace('/no_think', '') | trim }}<|end|>"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{{ '<think></think>' if off.v else '<think>\n' }}{% endif %}"
)
ENDING = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content | replace(' /no_think', '') }}<|end|>{% endfor %}"
    "<|assistant|>{{ '<think></think>' if messages[-1].content.rstrip().endswith('/no_think') else '<think>' }}"
)
STARTING = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content | replace('/no_think ', '') }}<|end|>{% endfor %}"
    "<|assistant|>{{ '<think></think>' if messages[-1].content.startswith('/no_think') else '<think>' }}"
)


OFF, ON = "<think></think>", "<think>"


@pytest.mark.parametrize(
    ("template", "words", "end"),
    [
        (SWITCHED, "Which loaf? /no_think", OFF),
        (SWITCHED, "Which /no_think loaf?", OFF),
        (SWITCHED, "Which loaf?", ON + "\n"),
        (ENDING, "Which loaf? /no_think", OFF),
        (ENDING, "Which loaf? /no_think\n", OFF),
        (ENDING, "/no_think Which loaf?", ON),
        (STARTING, "/no_think Which loaf?", OFF),
        (STARTING, "Which loaf? /no_think", ON),
    ],
)
def test_a_generation_prompt_may_depend_on_the_words_of_the_turn(template: str, words: str, end: str) -> None:
    tok = tokenizer(template)
    turns = [{"role": "user", "content": words}]
    shown = tok.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    chat = conversation("c", "Which loaf?", "None", words)
    before, question, after = read(tok, render(tok, chat))
    assert before == "<|user|>Which loaf?<|end|><|assistant|>None<|end|><|user|>"
    assert "<|user|>" + question + after == shown
    assert after.removeprefix("\n") == f"<|end|><|assistant|>{end}"
    [given] = with_replies(tok, chat, ["The small one."])
    assert read(tok, given.fitted(given.prompt[1]))[1] == question


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for tool in tools %}{{ tool }}{% endfor %}" + CHATML, "TypeError: 'NoneType' object is not iterable"),
        ("{{ messages | length + 'a' }}" + CHATML, "TypeError: unsupported operand"),
        ("{{ messages[0].content.index('zz') }}" + CHATML, "ValueError: substring not found"),
        ("{{ absent.part }}" + CHATML, "UndefinedError: 'absent' is undefined"),
        ("{{ '%(a)s' % {} }}" + CHATML, "KeyError: 'a'"),
        ("{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}" + CHATML, "RecursionError: maximum recursion"),
        ("{{ 1 // 0 }}" + CHATML, "ZeroDivisionError"),
        ("{% if %}", "Expected an expression"),
        ({"plain": CHATML, "tools": CHATML}, "ValueError: This model has multiple chat templates with no default"),
    ],
)
def test_any_error_of_a_template_is_one_line(template: Any, message: str) -> None:
    with pytest.raises(DataError, match=f"^conversation 'c': the chat template refuses it: {message}") as error:
        render(tokenizer(template), conversation("c", "hello"))
    assert "\n" not in str(error.value)


FIRST_SYSTEM_ONLY = (
    "{% for m in messages %}{% if m.role != 'system' or loop.first %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def dialogue(*turns: tuple[Any, str]) -> Any:
    return conversation("d", "x").model_copy(
        update={"messages": tuple(Message(role=role, content=text) for role, text in turns)}
    )


def test_a_turn_that_the_template_leaves_out_is_told() -> None:
    tok = tokenizer(FIRST_SYSTEM_ONLY)
    late = ("system", "From now on answer in rhyme")
    chat = dialogue(("user", "Good day"), ("assistant", "Good day"), late, ("user", "Which loaf?"))
    with pytest.raises(
        DataError, match=r"'d': the chat template leaves out turn 3 \(system: From now on answer in rhyme"
    ):
        render(tok, chat)
    with pytest.raises(DataError, match="leaves out turn 3"):
        with_replies(tok, chat, ["The small one."])
    first = dialogue(late, ("user", "Good day"), ("assistant", "Good day"), ("user", "Which loaf?"))
    assert read(tok, render(tok, first))[1] == "Which loaf?"


def test_a_turn_is_missed_even_if_its_words_stand_elsewhere() -> None:
    chat = dialogue(("user", "user"), ("assistant", "user"), ("system", "user"), ("system", "user"), ("user", "user"))
    with pytest.raises(DataError, match=r"leaves out turn 3 \(system: user\) and turn 4 \(system: user\),"):
        render(tokenizer(FIRST_SYSTEM_ONLY), chat)


def test_a_turn_that_is_stripped_or_loses_its_thought_is_not_left_out() -> None:
    tok = tokenizer(THINKING)
    chat = dialogue(
        ("system", "  Be kind \n"),
        ("user", "\nWhich?"),
        ("assistant", "<think>small</think>\n The one "),
        ("user", "Why?"),
    )
    assert "small" not in read(tok, render(tok, chat))[0]


def test_a_turn_of_which_a_part_is_shown_is_not_left_out() -> None:
    chat = conversation("c", "Which?", "<answer>The one</answer>", "Why?")
    assert "The one" in read(tokenizer(LAYOUTS["hunyuan"]), render(tokenizer(LAYOUTS["hunyuan"]), chat))[0]


def test_a_reply_starts_in_the_token_that_holds_its_first_letter() -> None:
    """A blank before a word is part of the word's token, and the prompt keeps the tokens that it has alone."""
    merging = Tokenizer(models.BPE())
    merging.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    merging.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=258, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    merging.train_from_iterator([" b"] * 99 + ["\n\n"] * 9, trainer)
    fast: Any = PreTrainedTokenizerFast
    tok = fast(tokenizer_object=merging)
    tok.chat_template = (
        "{% for m in messages %}{{ m.role }}:{{ ' ' ~ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    [given] = with_replies(tok, conversation("c", "what?"), ["bread"])
    assert tok.decode(list(given.token_ids)) == "user: what?\nassistant: bread"
    assert [tok.decode(token) for token in given.token_ids[given.prompt[1] :]] == [" b", "r", "e", "a", "d"]
    assert with_replies(tok, conversation("c", "what?"), [" bread"]) == [given]
    tok.chat_template = (
        "{% for m in messages %}{{ m.role }}\n{{ '\n' if m.role == 'assistant' }}{{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant\n{% endif %}"
    )
    prompt = render(tok, conversation("c", "what?"))
    [given] = with_replies(tok, conversation("c", "what?"), ["bread"])
    assert given.token_ids[: len(prompt.token_ids)] == prompt.token_ids
    assert [tok.decode(token) for token in given.token_ids[len(prompt.token_ids) :]] == ["\n", *"bread"]
    assert given.prompt[1] == len(prompt.token_ids) + 1


def test_a_tokenizer_without_offsets_gives_a_reply_the_same_place() -> None:
    tok = ByT5Tokenizer()
    tok.chat_template = LAYOUTS["mixtral"]
    prompt = render(tok, conversation("c", "wie heißt du?"))
    [given] = with_replies(tok, conversation("c", "wie heißt du?"), ["ich? naïv"])
    assert given.token_ids[: len(prompt.token_ids)] == prompt.token_ids
    assert tok.decode(list(given.token_ids[given.prompt[1] :])) == "ich? naïv"


def test_what_does_not_fit_is_cut_from_the_oldest_turns_and_from_the_replys_end() -> None:
    tok = tokenizer(LAYOUTS["qwen3_thinking"])
    chat = conversation("c", "long ago", "yes", "and now?")
    [given] = with_replies(tok, chat, ["bread"])
    short, longer = given.fitted(50), given.fitted(given.prompt[1] + 2)
    assert len(short.token_ids) == 50
    assert read(tok, short)[1:] == ("and now?", CHATML_END + "<think>\n\n</think>\n\n")
    assert longer.token_ids == given.token_ids[:-3]
    assert (longer.question, longer.prompt) == (given.question, given.prompt)


def test_a_check_tells_all_that_is_wrong_with_a_row() -> None:
    tok = tokenizer(FIRST_SYSTEM_ONLY)
    chat = dialogue(("user", "a"), ("assistant", "b"), ("system", "Rhyme"), ("user", "c" * 40)).model_copy(
        update={"wanted": "yes", "paraphrase": "d" * 50}
    )
    with pytest.raises(DataError) as error:
        check(tok, chat, max_tokens=30)
    told = str(error.value).split("; ")
    assert told[0].startswith("conversation 'd': the chat template leaves out turn 3")
    assert [part for part in told if "takes 60)" in part or "takes 70)" in part] == told[1::2]
    assert len(told) == 5
    check(tok, conversation("c", "what?").model_copy(update={"wanted": "bread", "unwanted": " "}), max_tokens=60)


def test_a_check_tells_that_replies_have_no_place() -> None:
    tok = tokenizer("{% for m in messages if m.role == 'user' %}[user] {{ m.content }}{% endfor %}[assistant]")
    with pytest.raises(
        DataError, match="'c': the chat template shows no assistant turn, so a given reply has no place"
    ):
        check(tok, conversation("c", "what?"))
