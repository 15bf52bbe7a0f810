"""What the section on trust says of search seeds, agreement and single experts."""

import pytest

from mascing.report.sections.trust import TrustSection, trust_section
from mascing.schemas.cards.topic_null import Effects, Topics
from mascing.schemas.facts import TrainFacts
from mascing.schemas.result import (
    DevRates,
    MaskAgreement,
    Overlap,
    Rate,
    SeedRates,
    SeedScatter,
    SingleExpert,
    Trust,
)
from tests.mascing.report.made_up_searches import expert_null


def written(trust: Trust, first: str | None = "refined") -> TrustSection:
    section = trust_section(trust, None, DevRates(target_rate=0.5), first, {})
    assert section is not None
    return section


def scattered(within_noise: int, keeps: tuple[bool, ...]) -> Trust:
    """Three seeds, of which the last is the best and the picked one."""
    behind = Rate(value=0.1, low=0.02, high=0.2, n=40, unscored=0)
    seeds = tuple(
        SeedRates(
            search_seed=number,
            target_rate=rate,
            behind=None if number == 2 else behind,
            uplift=Rate(value=rate - 0.5, low=rate - 0.7, high=rate - 0.3, n=40, unscored=0),
            keeps=keeps[number],
            picked=number == 2,
        )
        for number, rate in enumerate((0.981, 0.95, 0.846))
    )
    return Trust(seeds={"refined": SeedScatter(judged=40, within_noise=within_noise, seeds=seeds)})


def test_seeds_that_cost_too_much_do_not_count_as_good_ones() -> None:
    section = written(scattered(1, (False, False, True)))
    [sentence] = section.sentences
    assert sentence.startswith(
        "refined: all 3 search seeds certainly raise the target rate on dev (84.6% to 98.1%), 2 of"
    )
    assert section.seeds is not None
    assert [(row[1], row[4]) for row in section.seeds.rows] == [("0", "no"), ("1", "no"), ("2 (picked)", "yes")]


def test_a_mask_without_effect_has_no_share_to_keep() -> None:
    section = written(Trust(single={"steermoe": ()}))
    assert section.sentences == (
        "steermoe: no effect to keep: its mask does not certainly raise the target rate on dev.",
    )
    assert section.single is None
    both = written(Trust(single={"steermoe": (), "refined": (SingleExpert(layer=1, expert=2, share=0.5),)}))
    assert both.single is not None
    assert [row[0] for row in both.single.rows] == ["refined"]


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (
            "refined",
            (
                "refined: of the other picks, that of gradient agrees best with it, as found on 20.0% of the entries "
                "of both (by chance 3.0%).",
            ),
        ),
        ("steermoe", ("steermoe: no other pick moves one of its experts in the same direction.",)),
        (None, ()),
    ],
)
def test_the_method_that_agrees_best_with_the_first_is_named(first: str | None, said: tuple[str, ...]) -> None:
    def agreement(a: str, b: str, shared: int, by_chance: float) -> MaskAgreement:
        overlap = Overlap(entries=(6, 6), shared=shared, opposed=0, jaccard=shared / 10, by_chance=by_chance)
        return MaskAgreement(methods=(a, b), full=overlap, pruned=None)

    pairs = (
        agreement("steermoe", "gradient", 0, 0.0),
        agreement("steermoe", "refined", 0, 0.03),
        agreement("gradient", "refined", 2, 0.03),
    )
    section = written(Trust(agreement=pairs), first)
    assert section.sentences == said
    assert section.agreement is not None
    assert [row[1] for row in section.agreement.rows] == [
        "none shared",
        "0 of 12: 0.0%\nby chance 3.0%",
        "2 of 10: 20.0%\nby chance 3.0%",
    ]


def test_experts_that_topic_explains_are_said_with_their_numbers() -> None:
    trained = TrainFacts(experts={"question+prompt": expert_null()})
    section = trust_section(None, trained, DevRates(target_rate=0.5), None, {})
    assert section is not None
    [warning] = section.warnings
    assert "topic moves the 4 strongest experts as much as the behaviour does: 75% of them" in warning
    assert "70% of the effect" in warning
    assert "28 splits" in warning
    [figure] = section.effects
    assert [trace["name"] for trace in figure.spec["data"]] == ["behaviour", "between topics", "at random"]
    assert section.nulls is not None
    assert len(section.nulls.rows) == 2


def test_experts_that_topic_does_not_explain_are_said_to_be_clear_of_it() -> None:
    clear = expert_null().model_copy(update={"topic": Effects(splits=28, below=0.2, of_effect=0.1, own=0.1, weaker=1)})
    section = trust_section(None, TrainFacts(experts={"reply": clear}), DevRates(target_rate=0.5), None, {})
    assert section is not None
    assert (section.warnings, len(section.sentences)) == ([], 1)
    assert section.sentences[0].startswith("span reply: topic does not explain the 4 strongest experts (90% of their")


def test_without_a_split_by_topic_the_section_says_why() -> None:
    null = expert_null().model_copy(
        update={
            "topic": None,
            "topics": Topics(missing="12 groups are too few to tell topics apart: it takes 20"),
            "listed": tuple(expert.model_copy(update={"topic": None}) for expert in expert_null().listed),
        }
    )
    section = trust_section(None, TrainFacts(experts={"reply": null}), DevRates(target_rate=0.5), None, {})
    assert section is not None
    [warning] = section.warnings
    assert "no split by topic can be made: 12 groups are too few" in warning
    assert [trace["name"] for trace in section.effects[0].spec["data"]] == ["behaviour", "at random"]
