"""A judge's model behind an endpoint: what its answers hold beside a verdict, and replies that cannot be sent."""

import gc
from collections.abc import Callable
from typing import Any

import pytest

from mascing.engines.openai.endpoint import endpoint
from mascing.errors import EndpointError
from mascing.judges.rubrics.llm_judge import llm_judge
from mascing.schemas.settings.engine_settings import SpendingLimit
from mascing.schemas.settings.judging_models import LlmJudge
from mascing.schemas.verdict import Verdict
from tests.fake_endpoint import FakeEndpoint
from tests.mascing.engines.openai.asking import config_for
from tests.mascing.engines.openai.raw_server import answering, response, said
from tests.mascing.judges.asked import heard

Start = Callable[..., FakeEndpoint]
YES = '{"reasoning": "It declines.", "verdict": "YES"}'
REPLIES = [f"No, {number} times." for number in range(40)]


def verdicts(fake: FakeEndpoint, *replies: str) -> list[Verdict]:
    return heard(llm_judge(LlmJudge(rubric="refusal", endpoint=config_for(fake))), replies)


def test_a_reply_that_is_no_text_leaves_the_verdicts_of_the_others(fake_endpoint: Start) -> None:
    first, broken, last = verdicts(fake_endpoint(reply=lambda body: YES), "No.", "N\ud800o.", "Never.")
    assert (first.outcome, broken.outcome, last.outcome) == ("hit", "unscored", "hit")
    assert "surrogate" in broken.reason


@pytest.mark.parametrize(
    ("said", "outcome", "reason"),
    [
        (f"<think>NO? No: it does.</think>\n\n{YES}", "hit", "Yes"),
        ("<think>NO? No: it", "unscored", "cut off"),
    ],
)
def test_a_thought_before_the_verdict_is_no_part_of_it(
    said: str, outcome: str, reason: str, fake_endpoint: Start
) -> None:
    [verdict] = verdicts(fake_endpoint(reply=lambda body: said), "No.")
    assert verdict.outcome == outcome
    assert reason in verdict.reason


def test_an_answer_that_a_content_filter_ended_is_no_verdict() -> None:
    filtered = response(said(YES, finish_reason="content_filter"))
    with answering(lambda body: filtered) as url:
        [verdict] = verdicts(FakeEndpoint(url=url), "No.")
    assert (verdict.outcome, verdict.failed, verdict.raw) == ("unscored", False, YES)
    assert "content filter" in verdict.reason


@pytest.mark.parametrize("settings", [{"budget": SpendingLimit(tokens=3000)}, {"model": "another"}])
def test_what_ends_all_requests_is_told_once(
    settings: dict[str, Any], fake_endpoint: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """No request is left whose error an event loop tells, with its traceback, when it is collected."""
    fake = fake_endpoint(reply=lambda body: YES)
    config = config_for(fake, **settings)
    with pytest.raises(EndpointError):
        heard(llm_judge(LlmJudge(rubric="refusal", endpoint=config)), REPLIES)
    endpoint(config, None).close()
    gc.collect()
    assert [record.getMessage() for record in caplog.records] == []


def test_a_server_without_schemas_and_a_model_that_declines_are_told_as_such(fake_endpoint: Start) -> None:
    def no_schemas(body: dict[str, Any]) -> str:
        raise ValueError("response_format type json_schema is not supported")

    [verdict] = verdicts(fake_endpoint(reply=no_schemas), "No.")
    assert (verdict.outcome, verdict.failed) == ("unscored", True)
    assert "set `output: line`" in verdict.reason
    [verdict] = verdicts(fake_endpoint(reply=lambda body: {"content": None, "refusal": "I won't judge that."}), "No.")
    assert (verdict.outcome, verdict.raw) == ("unscored", "I won't judge that.")
    assert "declines to judge: I won't judge that." in verdict.reason
