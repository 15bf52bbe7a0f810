from mascing.schemas.conversation import Conversation, Message
from mascing.statistics.auc import auc
from mascing.surrogates.trivial_predictors import trivial_scores


def conversation(number: int, positive: bool, earlier: int = 0, text: str = "tell me more") -> Conversation:
    turns = [Message(role="user", content="so")] * earlier
    return Conversation(
        id=f"c{number}",
        group_id=f"g{number}",
        label="positive" if positive else "negative",
        messages=(*turns, Message(role="user", content=text)),
    )


def areas(rows: list[Conversation], tokens: dict[str, int] | None = None) -> dict[str, float]:
    """The area of every predictor that learned on the first half, on the second one."""
    counts = tokens or {row.id: 7 for row in rows}
    train, dev = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    labels, groups = [row.label == "positive" for row in dev], [row.group_id for row in dev]
    return {name: auc(scores, labels, groups).value for name, scores in trivial_scores(train, dev, counts).items()}


def test_equal_forms_and_words_tell_nothing() -> None:
    areas_by_name = areas([conversation(number, number % 2 == 0) for number in range(80)])
    assert areas_by_name == {"turns": 0.5, "length": 0.5, "tokens": 0.5, "words": 0.5}


def test_turns_are_read_whatever_their_direction() -> None:
    areas_by_name = areas([conversation(number, number % 2 == 0, earlier=2 * (number % 2)) for number in range(80)])
    assert areas_by_name["turns"] == areas_by_name["length"] == 1
    assert areas_by_name["tokens"] == 0.5


def test_a_class_in_the_middle_is_told_from_both_ends() -> None:
    earlier = [2, 0, 2, 4] * 20
    areas_by_name = areas([conversation(number, number % 2 == 0, earlier[number]) for number in range(80)])
    assert areas_by_name["turns"] == 1


def test_tokens_are_those_that_the_surrogate_reads() -> None:
    rows = [conversation(number, number % 2 == 0) for number in range(80)]
    areas_by_name = areas(rows, {row.id: 5 + number % 2 for number, row in enumerate(rows)})
    assert (areas_by_name["tokens"], areas_by_name["turns"]) == (1, 0.5)


def test_words_are_read_and_strange_ones_do_no_harm() -> None:
    texts = ("open the door", "shut the gate", "?!", "\u6f22\u5b57")
    rows = [conversation(number, number % 2 == 0, text=texts[number % 4]) for number in range(80)]
    assert areas(rows)["words"] == 1
