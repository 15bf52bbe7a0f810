import time

import pytest

from mascing.conversations import matching
from mascing.conversations.matching import NoPairError, matched_pairs
from mascing.schemas.config import MatchingConfig
from mascing.schemas.conversation import Conversation, Label, Message
from tests.bench.matching import balance, conversations
from tests.bench.topics.templates import TEMPLATES, pairs_and_wrong


def conversation(
    name: str, label: Label, request: str = "paint the small boat", earlier: int = 0, group: str | None = None
) -> Conversation:
    turns = [Message(role="user", content="so")] * earlier
    messages = (*turns, Message(role="user", content=request))
    return Conversation(id=name, group_id=group or name, label=label, messages=messages)


def pairs(*rows: Conversation, **config: object) -> list[tuple[str, str]]:
    return matched_pairs(rows, MatchingConfig.model_validate(config))


def test_a_group_is_paired_within_itself_however_it_words_its_requests() -> None:
    matched = pairs(
        conversation("a", "positive", "mend my old boots", group="boots"),
        conversation("b", "positive", "water the green plants", group="plants"),
        conversation("c", "negative", "mend my old boots", group="plants"),
        conversation("d", "negative", "water the green plant", group="boots"),
    )
    assert sorted(matched) == [("a", "d"), ("b", "c")]


def test_across_groups_requests_of_similar_words_are_paired() -> None:
    matched = pairs(
        conversation("a", "positive", "mend my old boots"),
        conversation("b", "positive", "water the green plants"),
        conversation("c", "negative", "water these green plants"),
        conversation("d", "negative", "mend these old boots"),
        conversation("e", "negative", "sing us a short song"),
    )
    assert sorted(matched) == [("a", "d"), ("b", "c")]


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        ("turns", conversation("n", "negative", earlier=2)),
        ("length", conversation("n", "negative", "paint the small boat" + " please" * 9)),
        ("topic", conversation("n", "negative", "count all sheep once")),
    ],
)
def test_what_differs_is_no_pair_unless_that_is_left_out(kind: str, other: Conversation) -> None:
    positive = conversation("p", "positive")
    with pytest.raises(NoPairError, match="no positive conversation has a negative one"):
        pairs(positive, other, length_ratio=1.1)
    rest = [name for name in ("turns", "length", "topic") if name != kind]
    assert pairs(positive, other, on=rest, length_ratio=10 if kind == "turns" else 1.1) == [("p", "n")]


def test_no_conversation_is_in_two_pairs_and_the_closest_length_wins() -> None:
    matched = pairs(
        conversation("short", "positive", "x" * 10, group="g"),
        conversation("long", "positive", "x" * 13, group="g"),
        conversation("n", "negative", "x" * 12, group="g"),
        conversation("m", "negative", "x" * 30, group="g"),
    )
    assert matched == [("long", "n")]


def test_conversations_are_read_once_and_their_order_counts() -> None:
    rows = conversations(500, 1)
    assert matched_pairs(iter(rows), MatchingConfig()) == matched_pairs(rows, MatchingConfig())


@pytest.mark.parametrize("labels", [(), ("positive",), ("negative", "negative")])
def test_without_both_classes_there_is_no_pair(labels: tuple[Label, ...]) -> None:
    assert pairs(*(conversation(str(number), label) for number, label in enumerate(labels))) == []


def test_many_equal_conversations_are_paired_as_far_as_they_go() -> None:
    rows = [conversation(f"{label}{number}", label) for label in ("positive", "negative") for number in range(120)]
    matched = matched_pairs(rows[:-20], MatchingConfig())
    assert len(matched) == len(dict(matched)) == len({negative for _, negative in matched}) == 100
    assert matched == matched_pairs(rows[:-20], MatchingConfig())


def test_eight_times_the_conversations_take_far_less_than_the_square_of_the_time() -> None:
    def seconds(rows: int) -> float:
        """Of the fastest of three, as other processes disturb them."""
        made, taken = conversations(rows, 0), list[float]()
        for _ in range(3):
            start = time.process_time()
            matched_pairs(made, MatchingConfig())
            taken.append(time.process_time() - start)
        return min(taken)

    seconds(100)  # imports
    assert seconds(16_000) < 20 * seconds(2000)  # 64 times by the square, and nine at the exponent that was measured


@pytest.mark.parametrize("seed", range(3))
def test_comparing_within_blocks_finds_the_pairs_of_comparing_all(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = conversations(3000, seed)
    found = balance(rows, matched_pairs(rows, MatchingConfig()))
    monkeypatch.setattr(matching, "_BLOCK", len(rows))
    all_compared = balance(rows, matched_pairs(rows, MatchingConfig()))
    assert found["pairs"] >= 0.99 * all_compared["pairs"] > 300
    assert found["within"] == pytest.approx(all_compared["within"], abs=0.01)
    assert found["ratio"] == pytest.approx(all_compared["ratio"], abs=0.01)
    assert abs(found["difference"]) < 0.05


def test_the_error_says_how_the_classes_look_and_what_to_do() -> None:
    rows = [conversation("p", "positive", "hi", earlier=3), conversation("n", "negative", "hello")]
    message = r"1 positive with 4 to 4 user turns and 8 to 8 characters; 1 negative with 1 to 1 .*`behaviour.matching`"
    with pytest.raises(NoPairError, match=message):
        matched_pairs(rows, MatchingConfig())


def test_requests_worded_alike_are_refused_by_the_setting_that_leaves_topic_out() -> None:
    rows = [conversation(f"{n}", "positive" if n % 2 else "negative", f"an odd question {n}") for n in range(40)]
    with pytest.raises(NoPairError, match=r"as those of a template, are no topic: .* out of `behaviour.matching.on`"):
        matched_pairs(rows, MatchingConfig())
    assert len(matched_pairs(rows, MatchingConfig(on=("turns", "length")))) == 20


@pytest.mark.parametrize("kind", TEMPLATES)
def test_a_shared_template_pairs_no_topics_and_keeps_no_pair_from_another(kind: str) -> None:
    assert pairs_and_wrong(kind, 300, 0, disjoint=True) == (0, 0)
    found, wrong = pairs_and_wrong(kind, 300, 0, disjoint=False)
    assert found > 100
    assert wrong == 0
