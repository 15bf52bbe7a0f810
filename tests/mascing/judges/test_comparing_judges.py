"""Verdicts of the judges that compare a reply with accepted answers, in the forms in which models answer."""

import pytest

from mascing.errors import DataError
from mascing.judges.table import cannot_judge
from mascing.schemas.conversation import Conversation, Message
from mascing.schemas.settings.judge_settings import ChoiceJudge, ContainsJudge, ExactJudge, JudgeConfig, RefusalJudge
from mascing.schemas.verdict import Verdict
from tests.mascing.judges.judged import judged_by


def asked(*references: str, wanted: str | None = None) -> Conversation:
    message = Message(role="user", content="Which loaf is it?")
    return Conversation(id="c", group_id="g", messages=(message,), references=references, wanted=wanted)


def verdict(judge: JudgeConfig, reply: str, *references: str) -> Verdict:
    return judged_by(judge, asked(*references), reply)


@pytest.mark.parametrize("answer", ["B", "b"])
@pytest.mark.parametrize(
    "reply",
    [
        "B", "b", "B.", "(B)", "[B]", '"B"', "**B**", "<b>B</b>", "B) Oat", "B: Oat", "B - Oat", "Option B",
        "\N{FULLWIDTH LATIN CAPITAL LETTER B}", "\N{FULLWIDTH LEFT PARENTHESIS}B\N{FULLWIDTH RIGHT PARENTHESIS}",
        "Answer: B", "**Answer:** B", "Answer:\nB", "The answer is B.", "The answer is option B) Oat.",
        "The correct answer is:\n\nB) Oat", "Final answer: **B**", r"\boxed{B}", r"So $\boxed{\text{B}}$.",
        "The correct option is (B) because oat is a grain, not A.", "B is the right one, not A.", "I'd go with B.",
        "I think it is (b).", "First, A is wrong. C is wrong as well. So B.", "B\n\nWhy: A) is rye, C) is corn.",
        "A) Rye\nB) Oat\n\nThe answer is B.", "Die Antwort ist B.",
        "答案是B", "答案：B", "正解は B です", "정답은 B입니다",
    ],
)  # fmt: skip
def test_a_choice_is_read_in_the_forms_that_models_use(reply: str, answer: str) -> None:
    assert verdict(ChoiceJudge(), reply, answer).outcome == "hit"
    assert verdict(ExactJudge(), reply, answer).outcome == "hit"
    assert verdict(ChoiceJudge(), reply, "A").outcome == "miss"


@pytest.mark.parametrize(
    "reply",
    ["A or B", "A and B", "B, C", "A) Rye, B) Oat", "A) Rye\nB) Oat", "It could be A. It could be B.", "Neither.",
     "The answer is A, no wait, the answer is B", "A dog ate it.", "Option A is wrong."],
)  # fmt: skip
def test_a_reply_that_chooses_nothing_is_not_guessed(reply: str) -> None:
    assert verdict(ChoiceJudge(), reply, "B", "Oat").outcome == "unscored"


@pytest.mark.parametrize(
    ("reply", "expected"),
    [("2", "hit"), ("(2)", "hit"), ("2) Oat", "hit"), ("The answer is 2.", "hit"), ("3", "miss"), ("B", "unscored"),
     ("1. Rye\n2. Oat", "unscored")],
)  # fmt: skip
def test_options_may_have_numbers(reply: str, expected: str) -> None:
    assert verdict(ChoiceJudge(), reply, "2").outcome == expected


def test_the_text_of_an_option_chooses_it_where_it_is_accepted_too() -> None:
    assert verdict(ChoiceJudge(), "It is oat.", "B", "Oat").outcome == "hit"
    assert verdict(ChoiceJudge(), "It is oat.", "B) Oat").outcome == "hit"
    assert verdict(ChoiceJudge(), "It is oat.", "B").outcome == "unscored"


@pytest.mark.parametrize(
    ("judge", "answer", "reply", "expected"),
    [
        (ExactJudge(), "blue", "Blue", "hit"),
        (ExactJudge(), "blue", "**blue.**", "hit"),
        (ExactJudge(), "blue", "It is blue", "miss"),
        (ExactJudge(), "caf\u00e9", "cafe\u0301", "hit"),
        (ExactJudge(), "blue", "\N{ZERO WIDTH SPACE}", "unscored"),
        (ContainsJudge(), "blue", "It is Blue.", "hit"),
        (ContainsJudge(), "blue", "A bluebell.", "miss"),
        (ContainsJudge(), "blue", "It is not blue.", "hit"),  # a documented limit
        (ContainsJudge(), "New York", "In new\nyork!", "hit"),
        (ContainsJudge(), "蓝色", "它是蓝色的。", "hit"),
        (ContainsJudge(), "blue", "", "unscored"),
    ],
)
def test_answers_are_compared_apart_from_form(judge: JudgeConfig, answer: str, reply: str, expected: str) -> None:
    assert verdict(judge, reply, answer).outcome == expected


@pytest.mark.parametrize("judge", [ExactJudge(), ContainsJudge(), ChoiceJudge()])
def test_a_conversation_without_an_answer_is_known_before_it_is_judged(judge: JudgeConfig) -> None:
    assert cannot_judge(judge, asked()) == "has no answer to compare with: add `references` or `wanted`"
    assert cannot_judge(judge, asked(wanted="B")) is None
    assert cannot_judge(RefusalJudge(), asked()) is None
    with pytest.raises(DataError, match=r"'c' .*has no answer to compare with"):
        verdict(judge, "B")


def test_more_text_may_still_bring_the_answer() -> None:
    assert not verdict(ContainsJudge(), "The loaf", "blue").final
    assert verdict(ContainsJudge(), "Blue is the loaf", "blue").final
    assert verdict(ExactJudge(), "red", "blue").final
    assert not verdict(ExactJudge(), "In the", "in the box").final
    assert not verdict(ChoiceJudge(), "Let me think.", "B").final


@pytest.mark.parametrize(
    "reply",
    [
        "The answer is not B", "It is not B", "Not B", "B is wrong", "I'd rule out B", "Definitely not B",
        "It isn't B.",
        "The answer cannot be B", "I don't think it is B.", "B is not correct.", "Neither A nor B.",
        "(B) is incorrect.",
        "B can't be right.", "A and B are wrong.", "The answer is B. Wait, no, it's C.", "I would say A... actually B",
        "The answer is A, B", "The answer is A or B.", "Vitamin C is healthy", "Plan B it is", "I", "I, for one, bake.",
        "I use C++.",
    ],
)  # fmt: skip
@pytest.mark.parametrize("judge", [ChoiceJudge(), ExactJudge()])
def test_a_denied_or_withdrawn_option_is_not_chosen(reply: str, judge: JudgeConfig) -> None:
    outcomes = {verdict(judge, reply, answer).outcome for answer in ("B", "C", "I")}
    assert "hit" not in outcomes or (reply, judge.kind) == ("I", "exact")
    if judge.kind == "choice":
        assert verdict(judge, reply, "B", "Oat").outcome == "unscored"


@pytest.mark.parametrize(
    "reply",
    ["The answer is not A, it is B.", "Not A but B.", "It's actually B, since A and C are rye.", "B, not A or C.",
     "First I thought A. Wait, no: the answer is B.", "A is wrong, so B.",
     "B is not only right but best.", "The answer is B and A is wrong."],
)  # fmt: skip
def test_what_is_left_after_a_denial_is_chosen(reply: str) -> None:
    assert verdict(ChoiceJudge(), reply, "B").outcome == "hit"


def test_the_ninth_option_is_chosen_where_it_is_told() -> None:
    assert verdict(ChoiceJudge(), "The answer is I.", "I").outcome == "hit"
    assert verdict(ChoiceJudge(), "(I)", "I").outcome == "hit"


@pytest.mark.parametrize(
    ("answer", "reply", "expected"),
    [
        (".NET", "Their net income", "miss"),
        (".NET", "It runs on .NET.", "hit"),
        ("net", "It runs on .NET.", "miss"),
        ("C", "I use C++", "miss"),
        ("C", "I use C# and C++.", "miss"),
        ("C", "I use C.", "hit"),
        ("C++", "I use **C++**.", "hit"),
        ("5", "It takes 5.5 hours", "miss"),
        ("5", "It takes 0.5 hours", "miss"),
        ("5", "It is -5 degrees", "miss"),
        ("5", "It takes 5. Then rest.", "hit"),
        ("5.5", "It takes 5.5.", "hit"),
        ("A*", "It is a star", "miss"),
        ("A*", "Use A* search", "hit"),
        ("A*", "Take *A* or **A**", "miss"),
        ("**blue**", "It is blue", "hit"),
        ("...blue", "It is blue", "hit"),
    ],
)
def test_signs_that_belong_to_an_answer_are_compared(answer: str, reply: str, expected: str) -> None:
    assert verdict(ContainsJudge(), reply, answer).outcome == expected
