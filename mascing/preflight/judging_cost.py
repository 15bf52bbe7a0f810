"""What the judgements of a run will cost at endpoints, told before one is asked: tokens and US dollars."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from mascing.engines.openai.spending import cost, most_prompt_tokens
from mascing.judges.canaries.canary import canaries_of
from mascing.judges.guards.guard_judge import guard_judge
from mascing.judges.judge import BatchJudge, verdicts_of
from mascing.judges.rubrics.llm_judge import llm_judge
from mascing.judges.speakers.weighed import WeighingSpeaker
from mascing.judges.table import JUDGES
from mascing.preflight.campaign_cost import CHOOSING, judged_of
from mascing.preflight.rows import Rows
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.settings.judge_settings import JudgeConfig, PanelJudge
from mascing.schemas.settings.judging_models import GuardJudge, LlmJudge

_BYTES_OF_TOKEN = 4
"""Of English text, about."""


@dataclass(frozen=True)
class Bill:
    """Judgements at endpoints, with the tokens of prompts and answers and their dollars.

    ``most_`` are bounds: the longest conversation of each set, a token for each byte of a prompt, and every answer at
    its limit. ``about_`` counts four bytes a token. ``unpriced`` names the models and judges whose price is not known;
    their dollars are not in it.
    """

    judgements: float = 0
    about_tokens: float = 0
    most_tokens: float = 0
    about_dollars: float = 0
    most_dollars: float = 0
    unpriced: frozenset[str] = frozenset()

    def __add__(self, other: "Bill") -> "Bill":
        return Bill(
            self.judgements + other.judgements,
            self.about_tokens + other.about_tokens,
            self.most_tokens + other.most_tokens,
            self.about_dollars + other.about_dollars,
            self.most_dollars + other.most_dollars,
            self.unpriced | other.unpriced,
        )

    def times(self, about: float, most: float) -> "Bill":
        """That of so many judgements like this one, about and at most."""
        return Bill(
            self.judgements * most,
            self.about_tokens * about,
            self.most_tokens * most,
            self.about_dollars * about,
            self.most_dollars * most,
            self.unpriced if most else frozenset(),
        )


def bills_of(config: RunConfig, rows: Rows) -> dict[str, Bill]:
    """The bill of each stage; in the first its judges are tried on the replies that the file gives."""
    reply = "word" * config.generation.max_new_tokens
    each = {name: _bill(config, row, reply) for name, row in rows.longest.items()}
    given = {name: _bill(config, row, rows.longest_text[name]) for name, row in rows.longest.items()}
    of_replies = {stage: _of_stage(stage, counts, each) for stage, counts in judged_of(config, rows).items()}
    return {"prepare": _of_stage("prepare", rows.texts, given), **of_replies}


def canary_bill(judges: Iterable[JudgeConfig]) -> Bill:
    """The bill of judges that read their canaries."""
    asked = ((judge, canary) for judge in judges for canary in canaries_of(judge) if not canary.in_thought)
    bills = (
        _of_judge(member, canary.conversation, canary.reply) for judge, canary in asked for member in _members(judge)
    )
    return sum(bills, Bill())


def _of_stage(stage: str, counts: Mapping[str, float], each: Mapping[str, Bill]) -> Bill:
    """Which sets a stage judges that chooses among them is not known: each could be judged with all its replies."""
    total = sum(counts.values())
    bills = (each[name].times(count, total if stage in CHOOSING else count) for name, count in counts.items())
    return sum(bills, Bill())


def _bill(config: RunConfig, longest: Conversation, reply: str) -> Bill:
    """One judgement of a reply to the longest conversation of a set, by all that its judge asks."""
    judge = config.behaviour.judge_of(longest.set)
    return sum((_of_judge(member, longest, reply) for member in _members(judge)), Bill())


def _members(judge: JudgeConfig) -> Iterator[JudgeConfig]:
    if isinstance(judge, PanelJudge):
        for member in judge.members:
            yield from _members(member)
    else:
        yield judge


def _of_judge(judge: JudgeConfig, conversation: Conversation, reply: str) -> Bill:
    if judge.kind not in JUDGES:
        return Bill(unpriced=frozenset({f"{judge.kind}, a judge of your own"}))
    if not isinstance(judge, LlmJudge | GuardJudge) or judge.endpoint is None:
        return Bill()
    speaker, prices = WeighingSpeaker(), judge.endpoint.prices
    made = llm_judge(judge, speaker) if isinstance(judge, LlmJudge) else guard_judge(judge, speaker)
    asyncio.run(_weigh(made, conversation, reply))
    most, answers = sum(map(most_prompt_tokens, speaker.messages)), speaker.answer_tokens
    about = sum(len(turn["content"].encode()) for turns in speaker.messages for turn in turns) // _BYTES_OF_TOKEN
    return Bill(
        1 if speaker.messages else 0,  # of an empty reply nothing is asked
        about + answers,
        most + answers,
        cost(prices, about, answers) or 0,
        cost(prices, most, answers) or 0,
        frozenset({judge.endpoint.model} if prices is None else ()),
    )


async def _weigh(judge: BatchJudge, conversation: Conversation, reply: str) -> None:
    async for _ in verdicts_of(judge, [(conversation, reply)]):
        pass
