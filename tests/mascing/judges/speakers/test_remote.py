"""A judge's model behind an endpoint: what stands in its answers beside the verdict, and replies that it cannot be sent."""

from collections.abc import Callable

from mascing.judges.rubrics.llm_judge import llm_judge
from mascing.schemas.settings.judging_models import LlmJudge
from mascing.schemas.verdict import Verdict
from tests.fake_endpoint import FakeEndpoint
from tests.mascing.engines.openai.asking import config_for
from tests.mascing.judges.asked import heard

Start = Callable[..., FakeEndpoint]
YES = '{"reasoning": "It declines.", "verdict": "YES"}'


def verdicts(fake: FakeEndpoint, *replies: str) -> list[Verdict]:
    return heard(llm_judge(LlmJudge(rubric="refusal", endpoint=config_for(fake))), replies)


def test_a_reply_that_is_no_text_leaves_the_verdicts_of_the_others(fake_endpoint: Start) -> None:
    first, broken, last = verdicts(fake_endpoint(reply=lambda body: YES), "No.", "N\ud800o.", "Never.")
    assert (first.outcome, broken.outcome, last.outcome) == ("hit", "unscored", "hit")
    assert "surrogate" in broken.reason
