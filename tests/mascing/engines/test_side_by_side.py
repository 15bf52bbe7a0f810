"""`mascing.compare`: replies without and with a mask."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import polars as pl
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

import mascing
from mascing.engines.side_by_side import Pair, SideBySide
from mascing.errors import DataError, MaskError
from mascing.masks.mask import Mask
from mascing.schemas.conversation import Conversation, Message
from mascing.testbeds.planted import build

ASKED = "describe the bucket of vellump"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("testbed")
    build(0, folder, steps=2)  # hardly trained: any reply will do
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def mask(model: Any) -> Mask:
    return Mask.from_experts({layer: {0: 30.0, 1: 30.0} for layer in range(4)}, model)


def test_replies_stand_side_by_side(model: Any, tokenizer: Any, mask: Mask) -> None:
    messages = [{"role": "user", "content": ASKED}]
    conversation = Conversation(id="a", group_id="a", messages=(Message(role="user", content=ASKED),))
    shown = mascing.compare(model, tokenizer, [ASKED, messages, conversation], mask, max_new_tokens=6)
    assert len(shown) == 3
    assert len({(pair.question, pair.before, pair.after) for pair in shown}) == 1
    plain = mascing.compare(model, tokenizer, [ASKED], mask * 0, max_new_tokens=6)
    assert next(iter(plain)).before == next(iter(plain)).after == next(iter(shown)).before
    assert shown.changed == 3
    with mascing.steer(model, mask) as handle:  # nothing was left in force
        assert set(handle.counters.values()) == {0}


def test_the_mask_acts_on_the_tokens_asked_for(model: Any, tokenizer: Any, mask: Mask) -> None:
    by_tokens = {
        tokens: mascing.compare(model, tokenizer, [ASKED], mask, tokens=tokens, max_new_tokens=6).pairs[0].after
        for tokens in ("all", "prompt", "reply")
    }
    before = mascing.compare(model, tokenizer, [ASKED], mask, max_new_tokens=6).pairs[0].before
    assert by_tokens["all"] != before
    # A mask on the reply leaves its first token as it was.
    assert by_tokens["reply"].split()[0] == before.split()[0]


PAIRS = SideBySide("Mask(…)", (Pair("why & how?", "no", "<b>yes</b>"), Pair("again?", "same", "same")))


def test_they_are_shown_in_consoles_notebooks_and_tables() -> None:
    assert repr(PAIRS).splitlines() == [
        "1 of 2 replies changed by Mask(…)",
        "≠ why & how?",
        "    before  no",
        "    after   <b>yes</b>",
        "= again?",
        "    before  same",
        "    after   same",
    ]
    table = ElementTree.fromstring(PAIRS._repr_html_())
    cells = ["".join(cell.itertext()) for cell in table.iter("td")]
    assert cells == ["≠", "why & how?", "no", "<b>yes</b>", "=", "again?", "same", "same"]
    assert PAIRS.to_polars().equals(
        pl.DataFrame(
            {
                "question": ["why & how?", "again?"],
                "before": ["no", "same"],
                "after": ["<b>yes</b>", "same"],
                "changed": [True, False],
            }
        )
    )


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("a question", "give a list of conversations, not str"),
        ([[{"role": "user"}]], r"conversation 0 is neither a question nor a list of messages \(messages.0.content"),
        (["fine", 7], r"conversation 1 is neither"),
        ([[{"role": "assistant", "content": "hello"}]], "no user turn"),
    ],
)
def test_what_is_no_conversation_is_refused(model: Any, tokenizer: Any, mask: Mask, asked: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        mascing.compare(model, tokenizer, asked, mask)


def test_what_is_no_mask_is_refused(model: Any, tokenizer: Any, mask: Mask) -> None:
    other: Any = [mask]
    with pytest.raises(MaskError, match="list is no mask: compare takes one mask"):
        mascing.compare(model, tokenizer, [ASKED], other)


@pytest.mark.parametrize("name", ["max_new_tokens", "batch_size"])
@pytest.mark.parametrize("number", [0, -1, 1.5, "8"])
def test_numbers_that_are_not_above_zero_are_refused(
    name: str, number: Any, model: Any, tokenizer: Any, mask: Mask
) -> None:
    with pytest.raises(DataError, match=f"{name} is a whole number above 0, not {number!r}"):
        mascing.compare(model, tokenizer, ["hello"], mask, **{name: number})
