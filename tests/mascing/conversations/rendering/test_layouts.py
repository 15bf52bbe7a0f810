"""The layouts of public families: the question, a given reply, and the end of a turn, each at its exact place."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from mascing.conversations.chat import render, with_replies
from mascing.conversations.rendering.turn_ends import TurnEnds, turn_ends
from mascing.models.chat_template import configured_template
from tests.layouts import LAYOUTS
from tests.mascing.olmoe_folder import conversation, tokenizer

REPLY = "Take the\nsmall <b>loaf</b>."


@dataclass(frozen=True)
class Layout:
    """What follows the question "Which loaf?" up to the reply, and the mark that ends the reply."""

    generation_prompt: str
    lead_in: str = ""
    end: str = "<|im_end|>"
    options: dict[str, Any] = field(default_factory=dict)
    words: str = "Which loaf?"
    question: str = "Which loaf?"


CHATML = "<|im_end|>\n<|im_start|>assistant\n"
EMPTY = "<think>\n\n</think>\n\n"
OFF = {"enable_thinking": False}
EXPECTED = {
    "chatml": Layout(CHATML),
    "qwen3_hybrid": Layout(CHATML, EMPTY),
    "qwen3_hybrid, thinking off": Layout(CHATML + EMPTY, options=OFF),
    "qwen3_thinking": Layout(CHATML + "<think>\n", "\n</think>\n\n"),
    "deepseek_r1": Layout("<|Assistant|><think>\n", "\n</think>\n\n", "<|end|>"),
    "deepseek_v3_1": Layout("<|Assistant|></think>", "", "<|end|>"),
    "deepseek_v3_1, thinking": Layout("<|Assistant|><think>", "</think>", "<|end|>", {"thinking": True}),
    "harmony": Layout("<|end|><|start|>assistant", "<|channel|>final<|message|>", "<|return|>"),
    "harmony_analysis": Layout(
        "<|end|><|start|>assistant<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
        "",
    ),
    "glm4_moe": Layout("<|assistant|>", "\n<think></think>\n", "<|user|>"),
    "glm4_moe, thinking off": Layout("/nothink<|assistant|>\n<think></think>", "\n", "<|user|>", OFF),
    "glm4_moe, switched off in the turn": Layout(
        "<|assistant|>\n<think></think>", "\n", "<|user|>", OFF, "Which loaf? /nothink", "Which loaf? /nothink"
    ),
    "minimax_m2": Layout("[e~[\n]~b]ai\n<think>\n", "\n</think>\n\n", "[e~["),
    "nemotron_v2": Layout("\n<SPECIAL_11>Assistant\n<think>\n", "\n</think>\n\n", "<SPECIAL_12>"),
    "nemotron_v2, switched off": Layout(
        "\n<SPECIAL_11>Assistant\n<think></think>", "", "<SPECIAL_12>", words="Which loaf? /no_think"
    ),
    "ernie4_5": Layout("\nAssistant: ", "", "<|end_of_sentence|>"),
    "hunyuan": Layout("<|extra_0|>", "", "<|eos|>"),
    "hunyuan, thinking off": Layout("<|extra_0|><think>\n\n</think>\n", "", "<|eos|>", OFF),
    "kimi_k2": Layout("<|im_end|><|im_assistant|>assistant<|im_middle|>"),
    "kimi_k2_thinking": Layout("<|im_end|><|im_assistant|>assistant<|im_middle|>", "<think></think>"),
    "mixtral": Layout(" [/INST]", " ", "</s>"),
    "olmoe": Layout("\n<|assistant|>\n", "", "<|endoftext|>"),
    "phi3_5": Layout("<|end|>\n<|assistant|>\n", "", "<|end|>"),
    "granite": Layout("<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>", "", "<|end_of_text|>"),
    "smollm3": Layout(CHATML),
    "smollm3, thinking off": Layout(CHATML + "<think>\n\n</think>\n", options=OFF),
    "llama4": Layout("<|eot|><|header_start|>assistant<|header_end|>\n\n", "", "<|eot|>"),
    "dbrx": Layout(CHATML),
    "jamba": Layout("<|eom|><|bom|><|assistant|>", " ", "<|eom|>"),
    "gemma": Layout("<end_of_turn>\n<start_of_turn>model\n", "", "<end_of_turn>"),
    "seed_oss": Layout("<seed:eos><seed:bos>assistant\n", "", "<seed:eos>"),
    "seed_oss, no budget": Layout(
        "<seed:eos><seed:bos>assistant\n"
        "<seed:think><seed:cot_budget_reflect>No budget.</seed:cot_budget_reflect></seed:think>",
        "",
        "<seed:eos>",
        {"thinking_budget": 0},
    ),
    "thought_in_brackets": Layout("[/USER][TURN][THINK]", "[/THINK]", "[END]"),
    "plain_words": Layout("\nAssistant:", " ", ""),
}


def chat(words: str) -> Any:
    return conversation("c", "Which loaf?", "Which loaf? assistant", words, system="Which loaf? user")


def configured(name: str) -> Any:
    tok = tokenizer(LAYOUTS[name.split(",")[0]])
    tok.chat_template = configured_template(tok, EXPECTED[name].options)
    return tok


@pytest.mark.parametrize("name", EXPECTED)
def test_a_given_reply_stands_where_the_template_puts_one(name: str) -> None:
    tok, expected = configured(name), EXPECTED[name]
    prompt = render(tok, chat(expected.words))
    [given] = with_replies(tok, chat(expected.words), [REPLY])
    assert tok.decode(list(prompt.token_ids[slice(*prompt.question)])) == expected.question
    assert tok.decode(list(prompt.token_ids[slice(*prompt.prompt)])) == expected.generation_prompt
    assert given.token_ids[: len(prompt.token_ids)] == prompt.token_ids
    assert given.question == prompt.question
    assert tok.decode(list(given.token_ids[len(prompt.token_ids) : given.prompt[1]])) == expected.lead_in
    assert tok.decode(list(given.token_ids[given.prompt[1] :])) == REPLY


@pytest.mark.parametrize("name", [name for name in EXPECTED if "," not in name and EXPECTED[name].end])
def test_a_turn_ends_where_the_template_ends_it(name: str) -> None:
    end = EXPECTED[name].end
    as_token = tokenizer(LAYOUTS[name], [end])
    assert turn_ends(as_token) == TurnEnds(ids=frozenset({as_token.convert_tokens_to_ids(end)}))


@pytest.mark.parametrize("end", ["<end_of_turn>", "</s>", "[END]", "<｜end▁of▁sentence｜>"])
def test_an_end_that_is_no_token_is_a_mark_in_the_text(end: str) -> None:
    assert turn_ends(tokenizer(LAYOUTS["chatml"].replace("<|im_end|>", end))) == TurnEnds(marks=(end,))


def test_mere_words_end_no_turn() -> None:
    assert turn_ends(tokenizer(LAYOUTS["plain_words"])) == TurnEnds()


@pytest.mark.parametrize("added", [[], ["<|end|>"]])
def test_a_mark_that_also_ends_a_thought_ends_no_turn(added: list[str]) -> None:
    assert turn_ends(tokenizer(LAYOUTS["harmony_analysis"], added)) == TurnEnds()
