"""Thoughts are told from replies by the marks of every family, whether a mark is a token, several, or special."""

from typing import Any

import pytest
from tokenizers import AddedToken

from mascing.conversations.chat import render
from mascing.conversations.thoughts import PAIRS, Said, ThoughtReader, said_in
from tests.layouts import LAYOUTS
from tests.mascing import olmoe_folder

NO_TEMPLATE = "{{ messages }}"


def tokenizer(*, plain: tuple[str, ...] = (), special: tuple[str, ...] = (), template: str = NO_TEMPLATE) -> Any:
    """One token per byte, with some marks as tokens of their own."""
    made = olmoe_folder.tokenizer(template)
    made.backend_tokenizer.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in plain])
    made.backend_tokenizer.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in special])
    return made


def marked(way: str, *marks: str) -> Any:
    """A tokenizer whose marks are several tokens (``pieces``), one token each, or one special token each."""
    return tokenizer(plain=marks if way == "plain" else (), special=marks if way == "special" else ())


def read(made: Any, prompt: str, reply: str) -> Said:
    return ThoughtReader(made).read(*(made(text, add_special_tokens=False)["input_ids"] for text in (prompt, reply)))


WAYS = ("pieces", "plain", "special")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("opening", "closing"), PAIRS)
def test_a_thought_is_no_reply(opening: str, closing: str, way: str) -> None:
    made = marked(way, opening, closing)
    reply = f"{opening}\nI cannot. Or can I?\n{closing}\n\nTake the loaf."
    assert read(made, "\n", reply) == ("I cannot. Or can I?", "Take the loaf.", True)
    opened_by_prompt = reply.removeprefix(opening)
    assert read(made, f"<|im_start|>assistant\n{opening}\n", opened_by_prompt) == read(made, "\n", reply)
    assert read(made, "\n", f"{opening}\n\n{closing}\n\nYes.") == (None, "Yes.", True)
    assert read(made, "\n", f"{opening}\nHm, that") == ("Hm, that", "", False)
    assert read(made, f"{opening}\n", "Hm, that") == ("Hm, that", "", False)
    assert read(made, f"{opening}\n\n{closing}\n\n", "Yes.") == (None, "Yes.", True)


@pytest.mark.parametrize("known", [{"plain": ("<think>", "</think>")}, {"template": "{{ '</think>' }}"}])
def test_a_mark_that_only_closes_ends_a_thought_of_a_model_that_thinks(known: dict[str, Any]) -> None:
    made = tokenizer(**known)
    assert read(made, "\n", "I cannot.\n</think>\n\nTake it.") == ("I cannot.", "Take it.", True)
    assert read(made, "\n", "I cannot.</think>Take it.") == ("I cannot.", "Take it.", True)
    assert read(tokenizer(), "\n", "I cannot.\n</think>\nTake it.").text == "I cannot.\n</think>\nTake it."


@pytest.mark.parametrize(
    "reply",
    [
        "  An element <think> holds a thought and </think> ends it.",
        "The mark </think> ends it.",
        "Write `</think>` there.",
        "```xml\n</think>\n```\nends it.",
        "Sure. <thinking> is one, too.",
        "Say <|channel|>final<|message|> first.",
        "<answer>B</answer>",
        "Caf\N{LATIN SMALL LETTER E WITH ACUTE} \n",
        "",
    ],
)
@pytest.mark.parametrize("way", WAYS)
def test_marks_within_a_reply_are_part_of_it(reply: str, way: str) -> None:
    made = marked(way, "<think>", "</think>", "<thinking>", "<|channel|>", "<|message|>")
    ids = made(reply, add_special_tokens=False)["input_ids"]
    as_ever = made.decode(ids, skip_special_tokens=True)
    assert read(made, "<|im_end|>\n<|im_start|>assistant\n", reply) == (None, as_ever, True)


@pytest.mark.parametrize(
    ("thought", "text"),
    [
        ("the mark `</think>` ends it", "b"),
        ('say "</think>", then', "b"),
        ("'</think>' or ('</think>')", "b"),
        ("```xml\n</think>\n```\nends it", "b"),
        ("```python\nbake()", "```python\nbake()\n```"),
        ('He said "rye"', '"Rye."'),
        ("I take `rye`", "`rye` it is"),
        ("Hm. ", " Yes, `</think>` ends it."),
    ],
)
@pytest.mark.parametrize("way", WAYS)
def test_a_quoted_mark_within_a_thought_does_not_end_it(thought: str, text: str, way: str) -> None:
    made = marked(way, "<think>", "</think>")
    if way != "special":  # decoding drops special tokens wherever they stand
        assert read(made, "<think>\n", f"{thought}</think>{text}") == (thought.strip(), text.lstrip(), True)
    assert read(made, "<think>\n", f"{thought}</think>{text}").closed


@pytest.mark.parametrize("thought", ["say '</think>' ok", "is `<think>` or `</think>` meant?\n", "the </think> mark"])
def test_the_first_mark_that_is_not_quoted_ends_a_thought_that_nothing_opened(thought: str) -> None:
    made = tokenizer(plain=("<think>", "</think>"))
    assert read(made, "\n", f"{thought}</think>final") == (thought.strip(), "final", True)
    assert said_in(f"{thought}</think>final") == (thought.strip(), "final", True)


@pytest.mark.parametrize("begun", ["<thi", "\n<think", "[THI", "<|chan", "<think>a</think>\n<th"])
def test_a_reply_that_is_cut_off_within_an_opening_mark_has_no_text(begun: str) -> None:
    made = tokenizer()
    prompt, ids = (made(text, add_special_tokens=False)["input_ids"] for text in ("\n", begun))
    said = ThoughtReader(made).read(prompt, ids, cut_off=True)
    assert (said.text, said.closed) == ("", False)
    assert ThoughtReader(made).read(prompt, ids).closed


def test_special_tokens_vanish_from_thought_and_reply() -> None:
    made = tokenizer(special=("<think>", "</think>"))
    assert read(made, "\n", "<|im_start|><think>Hm<pad></think> A<|im_end|>B") == ("Hm", "AB", True)


def test_several_thoughts_and_what_wraps_an_answer() -> None:
    made = tokenizer()
    assert read(made, "\n", "<think>a</think>\n<think>b</think>\nYes.") == ("a\n\nb", "Yes.", True)
    assert read(made, "\n", "<think>\na\n</think>\n<answer>\nYes.\n</answer>") == ("a", "Yes.", True)
    assert read(made, "\n", "<think>a</think><answer>Yes, it") == ("a", "Yes, it", True)
    assert read(made, "<think>\n\n</think>\n", "<answer>\nYes.\n</answer>") == (None, "Yes.", True)


HARMONY = ("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>", "<|call|>", "<|constrain|>")
ANALYSIS, FINAL = "<|channel|>analysis<|message|>", "<|channel|>final<|message|>"
NEXT = "<|end|><|start|>assistant"


@pytest.mark.parametrize("special", [HARMONY, ()])
@pytest.mark.parametrize(
    ("prompt", "reply", "said"),
    [
        ("", f"{ANALYSIS}I cannot.{NEXT}{FINAL}Take it.<|return|>", ("I cannot.", "Take it.", True)),
        ("", f"{FINAL}Take it.", (None, "Take it.", True)),
        ("", f"{ANALYSIS}I cannot. But", ("I cannot. But", "", False)),
        ("", f"{ANALYSIS}I cannot.<|end|>", ("I cannot.", "", False)),
        ("", f"{ANALYSIS}I cannot.{NEXT}{FINAL}", ("I cannot.", "", True)),
        ("", "<|channel|>ana", (None, "", False)),
        (
            "",
            f"{ANALYSIS}a{NEXT}<|channel|>commentary<|message|>b{NEXT}{ANALYSIS}c{NEXT}{FINAL}d",
            ("a\n\nb\n\nc", "d", True),
        ),
        (
            "",
            f"{ANALYSIS}a{NEXT}<|channel|>commentary to=functions.f <|constrain|>json<|message|>{{}}<|call|>",
            ("a\n\n{}", "", False),
        ),
        ("", " to=functions.f<|channel|>commentary<|message|>{}<|call|>", ("{}", "", False)),
        ("", " to=functions.f <|constrain|>json<|message|>{}<|call|>", ("{}", "", False)),
        ("", " to=functions.f", (None, "", False)),
        (
            "",
            f"{ANALYSIS}a<|end|><|start|>assistant to=functions.f<|channel|>commentary<|message|>b{NEXT}{FINAL}c",
            ("a\n\nb", "c", True),
        ),
        (ANALYSIS, f"I cannot.{NEXT}{FINAL}Take it.", ("I cannot.", "Take it.", True)),
        (FINAL, "Take it.", (None, "Take it.", True)),
        (f"{ANALYSIS}{NEXT}", f"{FINAL}Take it.", (None, "Take it.", True)),
        ("", "Take it.", (None, "Take it.", True)),
    ],
)
def test_the_reply_is_what_the_final_channel_says(
    prompt: str, reply: str, said: tuple[str | None, str, bool], special: tuple[str, ...]
) -> None:
    assert read(tokenizer(special=special), f"<|end|><|start|>assistant{prompt}", reply) == said


@pytest.mark.parametrize("words", ["What does <think> mean?", "Explain <think>", "<think>\n\n", "<|channel|>analysis"])
def test_marks_in_the_words_of_a_user_open_nothing(words: str) -> None:
    made = tokenizer(plain=("<think>", "</think>", "<|channel|>"), template=LAYOUTS["chatml"])
    prompt = render(made, olmoe_folder.conversation("c", "Hello", "Hello", words))
    ids = made("It is a mark.", add_special_tokens=False)["input_ids"]
    said = ThoughtReader(made).read(prompt.token_ids[slice(*prompt.prompt)], ids)
    assert said == (None, "It is a mark.", True)


@pytest.mark.parametrize(
    ("layout", "reply", "said"),
    [
        ("deepseek_r1", "Hm.\n</think>\n\nYes.", ("Hm.", "Yes.", True)),
        ("deepseek_r1", "Hm.", ("Hm.", "", False)),
        ("deepseek_v3_1", "Yes.", (None, "Yes.", True)),
        ("minimax_m2", "Hm.\n</think>\n\nYes.", ("Hm.", "Yes.", True)),
        ("nemotron_v2", "Hm.\n</think>\n\nYes.", ("Hm.", "Yes.", True)),
        ("qwen3_thinking", "Hm.\n</think>\n\nYes.", ("Hm.", "Yes.", True)),
        ("qwen3_hybrid", "<think>\nHm.\n</think>\n\nYes.", ("Hm.", "Yes.", True)),
        ("glm4_moe", "\n<think>Hm.</think>\nYes.", ("Hm.", "Yes.", True)),
        ("hunyuan", "<think>\nHm.\n</think>\n<answer>\nYes.\n</answer>", ("Hm.", "Yes.", True)),
        ("seed_oss", "<seed:think>Hm.</seed:think>Yes.", ("Hm.", "Yes.", True)),
        ("harmony", f"{ANALYSIS}Hm.{NEXT}{FINAL}Yes.", ("Hm.", "Yes.", True)),
        ("olmoe", "Yes.", (None, "Yes.", True)),
    ],
)
def test_a_thought_is_found_behind_the_prompts_of_public_layouts(
    layout: str, reply: str, said: tuple[str | None, str, bool]
) -> None:
    made = tokenizer(template=LAYOUTS[layout])
    made.bos_token = "<pad>"
    prompt = render(made, olmoe_folder.conversation("c", "Is it <think>?"))
    ids = made(reply, add_special_tokens=False)["input_ids"]
    assert ThoughtReader(made).read(prompt.token_ids[slice(*prompt.prompt)], ids) == said


def test_thoughts_in_given_texts_are_told_apart_without_a_tokenizer() -> None:
    assert said_in("<think>\nHm.\n</think>\n\nYes.") == ("Hm.", "Yes.", True)
    assert said_in("Hm.\n</think>\n\nYes.") == ("Hm.", "Yes.", True)
    assert said_in(f"{ANALYSIS}Hm.{NEXT}{FINAL}Yes.") == ("Hm.", "Yes.", True)
    assert said_in("<think>Hm.") == ("Hm.", "", False)
    assert said_in("analysisHm.assistantfinalYes.") == ("Hm.", "Yes.", True)
    assert said_in("analysisHm.assistantcommentaryWell.assistantfinalYes.").text == "Yes."
    assert said_in("analysisHm.") == ("Hm.", "", False)
    assert said_in("analysis of the loaf: blue") == (None, "analysis of the loaf: blue", True)
    assert said_in(" Yes. Here is my response: it is </think> .") == (
        None,
        " Yes. Here is my response: it is </think> .",
        True,
    )
