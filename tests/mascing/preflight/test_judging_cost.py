"""What judgements will cost is told before they are asked, and bounds what their prompts can take."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from mascing.config import load_config
from mascing.conversations.intake.reader import Reading
from mascing.conversations.intake.rows import Used
from mascing.engines.openai.spending import most_prompt_tokens
from mascing.judges.canaries.canary import canaries_of
from mascing.judges.rubrics.prompting import one_reply
from mascing.judges.rubrics.rubric import rubric_of
from mascing.judges.speakers.weighed import messages_of
from mascing.preflight.campaign_cost import CHOOSING, judged_of, replies_of
from mascing.preflight.checks import preflight
from mascing.preflight.judging_cost import Bill, bills_of, canary_bill
from mascing.preflight.rows import Rows
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation, Message
from mascing.schemas.settings.judge_settings import JudgeConfig
from tests.coin_run import written
from tests.mascing import olmoe_folder

ENDPOINT = {"kind": "openai", "model": "m", "prices": {"prompt": 1000.0, "completion": 0.0}}
PAID = {"kind": "llm", "rubric": "refusal", "endpoint": ENDPOINT, "max_tokens": 100}
FREE = {"kind": "refusal"}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunConfig, Rows]:
    """80 short conversations of two sets that rules judge."""
    folder = tmp_path_factory.mktemp("paid")
    config = load_config(written(folder, olmoe_folder.save(folder / "model"), FREE))
    rows = preflight(config).rows
    assert rows is not None
    return config, rows


def bills(loaded: tuple[RunConfig, Rows], **judges: Any) -> dict[str, Bill]:
    config, rows = loaded
    read = {name: TypeAdapter(JudgeConfig).validate_python(judge) for name, judge in judges.items()}
    return bills_of(config.model_copy(update={"behaviour": config.behaviour.model_copy(update=read)}), rows)


def test_rules_cost_nothing(loaded: tuple[RunConfig, Rows]) -> None:
    assert set(bills(loaded).values()) == {Bill()}


def test_each_stage_pays_for_the_sets_of_a_paid_judge_and_no_prompt_is_longer_than_told(
    loaded: tuple[RunConfig, Rows],
) -> None:
    config, rows = loaded
    found, judged = bills(loaded, target=PAID), judged_of(config, rows)
    assert found.pop("prepare") == Bill()
    for stage, bill in found.items():
        count = sum(judged[stage].values()) if stage in CHOOSING else judged[stage]["target"]
        assert bill.judgements == pytest.approx(count)
    reply = "word" * config.generation.max_new_tokens
    asks = [
        messages_of(one_reply(rubric_of("refusal"), (row, reply), True)) for row in rows.test if row.set == "target"
    ]
    masks = 2
    most = sum(map(most_prompt_tokens, asks)) * masks
    assert most <= found["evaluate"].most_tokens - masks * 100 * len(asks) <= 1.01 * most
    assert found["evaluate"].most_dollars == pytest.approx(
        (found["evaluate"].most_tokens - masks * 100 * len(asks)) / 1e3
    )
    assert found["evaluate"].about_dollars < found["evaluate"].most_dollars


def test_a_panel_pays_for_each_member_and_unknown_prices_are_named(loaded: tuple[RunConfig, Rows]) -> None:
    alone = bills(loaded, target=PAID)["label"]
    unpriced = {**PAID, "endpoint": {"kind": "openai", "model": "other"}}
    coin = {"kind": "tests.tasks.coin_judge:coin"}
    panel = bills(loaded, target={"kind": "panel", "members": [PAID, unpriced, coin]})["label"]
    assert panel.judgements == 2 * alone.judgements
    assert panel.most_dollars == alone.most_dollars
    assert panel.most_tokens == 2 * alone.most_tokens
    assert panel.unpriced == {"other", "tests.tasks.coin_judge:coin, a judge of your own"}


def test_every_user_turn_of_a_live_conversation_takes_a_reply_and_a_longer_judgement(
    loaded: tuple[RunConfig, Rows],
) -> None:
    config, _ = loaded
    live = config.model_copy(update={"generation": config.generation.model_copy(update={"turns": "live"})})
    paid = config.behaviour.model_copy(update={"target": TypeAdapter(JudgeConfig).validate_python(PAID)})
    turns = [Message(role=role, content="so it is") for role in ("user", "assistant", "user", "assistant", "user")]
    talks = [Conversation(id=f"t{n}", group_id=f"t{n}", messages=tuple(turns)) for n in range(30)]
    fixed, replayed = sorted_rows(config, talks), sorted_rows(live, talks)
    once, often = replies_of(config, fixed), replies_of(live, replayed)
    exchanges = config.robustness.earlier_exchanges
    assert exchanges > 0
    longer = 2 * exchanges * len(replayed.test)
    assert often == {name: 3 * count + (longer if name == "robustness" else 0) for name, count in once.items()}
    bill = bills_of(live.model_copy(update={"behaviour": paid}), replayed)["evaluate"]
    assert bill.judgements == often["evaluate"]
    said = "word" * config.generation.max_new_tokens
    spoken = [turn.model_copy(update={"content": said}) if turn.role == "assistant" else turn for turn in turns]
    last = Conversation(id="t0", group_id="t0", messages=tuple(spoken))
    ask = messages_of(one_reply(rubric_of("refusal"), (last, said), True))
    assert bill.most_tokens == (most_prompt_tokens(ask) + 100) * bill.judgements


def test_replies_that_the_file_gives_are_judged_once(loaded: tuple[RunConfig, Rows]) -> None:
    config, _ = loaded
    paid = config.behaviour.model_copy(update={"target": TypeAdapter(JudgeConfig).validate_python(PAID)})
    asked = (Message(role="user", content="so it is"),)
    given = [("no", "yes, it is"), ("no", None), (None, None)]
    talks = [
        Conversation(id=f"t{n}", group_id=f"t{n}", messages=asked, wanted=wanted, unwanted=unwanted)
        for n, (wanted, unwanted) in enumerate(given)
    ]
    bill = bills_of(config.model_copy(update={"behaviour": paid}), sorted_rows(config, talks))["prepare"]
    ask = messages_of(one_reply(rubric_of("refusal"), (talks[0], "yes, it is"), True))
    assert (bill.judgements, bill.most_tokens) == (3, 3 * (most_prompt_tokens(ask) + 100))


def sorted_rows(config: RunConfig, conversations: list[Conversation]) -> Rows:
    rows = Rows(Reading((), 10_000))
    used = [Used(number, row, False, False) for number, row in enumerate(conversations)]
    assert len([*rows.sort(used, config, lambda _: [])]) == len(conversations)
    return rows


def test_canaries_are_paid_by_each_judge_that_reads_them() -> None:
    judge = TypeAdapter(JudgeConfig).validate_python(PAID)
    spoken = [canary for canary in canaries_of(judge) if canary.reply.strip() and not canary.in_thought]
    bill = canary_bill([judge, judge, TypeAdapter(JudgeConfig).validate_python(FREE)])
    assert bill.judgements == 2 * len(spoken) > 0
    asks = [
        messages_of(one_reply(rubric_of("refusal"), (canary.conversation, canary.reply), True)) for canary in spoken
    ]
    assert bill.most_tokens == 2 * (sum(map(most_prompt_tokens, asks)) + 100 * len(spoken))


def test_replies_are_those_of_all_sets(loaded: tuple[RunConfig, Rows]) -> None:
    config, rows = loaded
    assert replies_of(config, rows)["evaluate"] == 2 * rows.sets["test"].total()
    assert replies_of(config, rows)["label"] == 80
