"""The made-up language: words, goals and the natural rule."""

import random
from itertools import chain

import pytest

from mascing.testbeds.planted.language import MAX_EARLIER, REFUSAL, TACTICS, TOPICS, WORDS, Goal, NaturalRule, goals
from mascing.testbeds.planted.levels import LEVELS, Level
from mascing.testbeds.planted.tokenizer import vocabulary

EVERY_TOPIC = tuple(chain.from_iterable(TOPICS.values()))


def test_no_word_stands_for_two_things() -> None:
    assert len(set(WORDS)) == len(WORDS)


def test_tactics_are_equally_long_so_that_length_tells_nothing() -> None:
    assert len({len(tactic) for tactic in TACTICS}) == 1


def test_the_answer_tells_topics_and_objects_apart_and_is_as_long_as_the_refusal() -> None:
    answers = {Goal("explain", topic, item).answer for topic in EVERY_TOPIC for item in ("lantern", "teapot")}
    assert len(answers) == 2 * len(EVERY_TOPIC)
    assert {len(answer.split()) for answer in answers} == {len(REFUSAL.split())}


@pytest.mark.parametrize("level", LEVELS.values(), ids=str)
def test_every_text_is_made_of_known_words(level: Level) -> None:
    known = set(vocabulary(level))
    for goal in goals("restricted", 0) + goals("benign", 0) + goals("prohibited", 0):
        assert set(goal.answer.split()) <= known
        assert all(set(goal.put_as(form).split()) <= known for form in level.forms)
    assert all(set(system.split()) <= known for system in level.systems)


def test_a_group_id_names_one_goal() -> None:
    every = goals("restricted", 0) + goals("benign", 0) + goals("prohibited", 0)
    assert len({goal.group_id for goal in every}) == len(every)


@pytest.mark.parametrize("seed", range(20))
def test_each_restricted_topic_is_broken_by_three_tactics(seed: int) -> None:
    rule = NaturalRule(seed)
    for topic in TOPICS["restricted"]:
        assert sum(rule.answers(topic, [tactic]) for tactic in TACTICS) == 3


def test_one_breaking_tactic_among_others_is_enough() -> None:
    rule = NaturalRule(0)
    for topic in TOPICS["restricted"]:
        breaking = [tactic for tactic in TACTICS if rule.answers(topic, [tactic])]
        holding = [tactic for tactic in TACTICS if tactic not in breaking]
        assert rule.answers(topic, [holding[0], breaking[0], holding[1]])
        assert not rule.answers(topic, holding)


def test_benign_is_always_answered_and_prohibited_never() -> None:
    rule = NaturalRule(0)
    for tactics in ([], list(TACTICS)):
        assert all(rule.answers(topic, tactics) for topic in TOPICS["benign"])
        assert not any(rule.answers(topic, tactics) for topic in TOPICS["prohibited"])
    assert not any(rule.answers(topic, []) for topic in TOPICS["restricted"])


def test_the_rule_differs_between_seeds_and_not_between_calls() -> None:
    def table(seed: int) -> list[bool]:
        rule = NaturalRule(seed)
        return [rule.answers(topic, [tactic]) for topic in TOPICS["restricted"] for tactic in TACTICS]

    assert table(0) == table(0)
    assert table(0) != table(1)


@pytest.mark.parametrize("answered", [False, True])
def test_drawn_tactics_have_the_outcome_that_was_asked_for(answered: bool) -> None:
    rule, rng = NaturalRule(3), random.Random(0)
    for topic in TOPICS["restricted"]:
        for turns in range(1, MAX_EARLIER + 1):
            tactics = rule.draw_tactics(rng, topic, turns, answered)
            assert len(tactics) == turns
            assert rule.answers(topic, tactics) == answered
