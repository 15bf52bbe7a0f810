"""Labels and contrasts from a model's own replies."""

import pytest

from mascing.conversations.own_replies import Said, missing_side, texts_for, with_own_replies
from mascing.schemas.conversation import Conversation, Message

HIT, MISS, UNREAD = Said("no, sorry", "hit"), Said("sure: a pot", "miss"), Said("", "unscored")


def asked(**fields: object) -> Conversation:
    turn = Message(role="user", content="where is the pot?")
    return Conversation.model_validate({"id": "c", "group_id": "g", "messages": (turn,), **fields})


@pytest.mark.parametrize(
    ("said", "label", "wanted", "unwanted"),
    [
        ([HIT], "positive", HIT.text, None),
        ([MISS], "negative", None, MISS.text),
        ([HIT, MISS, UNREAD], "positive", HIT.text, MISS.text),
        ([MISS, UNREAD, HIT], "negative", HIT.text, MISS.text),
        ([UNREAD, HIT, MISS], None, None, None),
    ],
)
def test_the_first_reply_labels_and_further_ones_give_the_other_side(
    said: list[Said], label: str | None, wanted: str | None, unwanted: str | None
) -> None:
    own = with_own_replies(asked(), said)
    assert (own.label, own.wanted, own.unwanted) == (label, wanted, unwanted)
    assert own.contrast == (label is not None)
    assert own.own_reply == (said[0].text if label else None)


def test_what_a_file_claims_of_another_model_is_not_believed() -> None:
    own = with_own_replies(asked(label="positive", wanted="another model's no", unwanted="another's yes"), [MISS])
    assert (own.label, own.wanted, own.unwanted) == ("negative", None, MISS.text)


def test_a_blank_reply_that_a_judge_counts_teaches_nothing() -> None:
    own = with_own_replies(asked(), [Said(" \n", "miss")])
    assert (own.label, own.contrast, own.unwanted) == ("negative", False, None)


def test_the_answer_to_compare_with_survives_as_a_reference() -> None:
    question = asked(set="utility/facts", wanted="Paris")
    own = with_own_replies(question, [Said("It is Paris.", "hit")])
    assert (own.wanted, own.references, own.accepted) == ("It is Paris.", ("Paris",), ("Paris",))
    listed = asked(set="utility/facts", wanted="Paris", references=("Paris", "paris, france"))
    assert with_own_replies(listed, [Said("It is Paris.", "hit")]).references == ("Paris", "paris, france")
    assert with_own_replies(question, [Said("Rome", "miss")]) == question


def test_a_side_that_the_model_did_not_fill_is_looked_for_in_order() -> None:
    brought = asked(wanted="given no", unwanted="given yes")
    negative = with_own_replies(brought, [MISS])
    positive = with_own_replies(asked(), [HIT])
    assert missing_side(negative) == "wanted"
    assert texts_for("wanted", brought, "the plain no", HIT.text) == ("given no", "the plain no", HIT.text)
    assert missing_side(positive) == "unwanted"
    assert texts_for("unwanted", brought, "the plain no", MISS.text) == ("given yes", MISS.text)
    assert texts_for("wanted", asked(wanted=" "), None, None) == ()


@pytest.mark.parametrize("said", [[HIT, MISS], [UNREAD]])
def test_nothing_is_missing_where_both_sides_or_no_label_stand(said: list[Said]) -> None:
    assert missing_side(with_own_replies(asked(), said)) is None
    assert missing_side(asked(set="utility/facts")) is None
