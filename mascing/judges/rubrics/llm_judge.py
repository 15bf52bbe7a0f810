"""The judge that asks a language model a question about the reply."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from mascing.judges.judge import BatchJudge, Pair, Verdicts, scored, summed, unscored
from mascing.judges.rubrics.answers import verdict_in
from mascing.judges.rubrics.prompting import WHICH, YES_NO, one_reply, schema_of, two_replies
from mascing.judges.rubrics.rubric import lacks, rubric_of
from mascing.judges.speakers.speaker import Ask, Manner, Said, Speaker
from mascing.judges.speakers.speaking import speaker_identity, speaker_of
from mascing.schemas.conversation import Conversation
from mascing.schemas.settings.judging_models import LlmJudge, RubricText
from mascing.schemas.verdict import Verdict
from mascing.storage.object_storage import Storage

_FIRST, _SECOND, _TIE = WHICH


def llm_judge(config: LlmJudge, speaker: Speaker | None = None) -> BatchJudge:
    """A hit is a reply about which the model answers the rubric's question with yes.

    A rubric with ``against`` shows two replies, once in either order: a hit is better in both, a miss worse in both,
    and all else is unscored. So is an empty reply, and an answer that is cut off or not of the form that was asked.
    """
    rubric, asked_of = rubric_of(config.rubric), speaker or speaker_of(config)
    as_json = config.output == "json" or (config.output is None and config.endpoint is not None)
    verdicts = YES_NO if rubric.against is None else WHICH
    manner = Manner(config.max_tokens, schema=schema_of(verdicts) if as_json else None)

    async def judge(pairs: Sequence[Pair], storage: Storage | None) -> Verdicts:
        spoken = [place for place, (_, reply) in enumerate(pairs) if reply.strip()]
        for place in sorted(set(range(len(pairs))) - set(spoken)):
            yield place, unscored()
        asks = [ask for place in spoken for ask in _asks(rubric, pairs[place], as_json)]
        orders = len(asks) // max(1, len(spoken))
        heard: dict[int, dict[int, Said]] = {}
        async for number, said in asked_of.say(asks, manner, storage):
            index, order = divmod(number, orders)
            heard.setdefault(index, {})[order] = said
            if len(heard[index]) == orders:
                answers = [heard[index][order] for order in range(orders)]
                yield spoken[index], _read(rubric, answers, as_json)

    return BatchJudge(judge)


def llm_identity(config: LlmJudge) -> dict[str, Any]:
    """The model, and the rubric's text where the settings only name it."""
    rubric = rubric_of(config.rubric).model_dump_json()
    return {"speaker": speaker_identity(config), "rubric": sha256(rubric.encode()).hexdigest()}


def llm_cannot_judge(config: LlmJudge, conversation: Conversation) -> str | None:
    """What the conversation lacks for the rubric."""
    return lacks(rubric_of(config.rubric), conversation)


def _asks(rubric: RubricText, pair: Pair, as_json: bool) -> list[Ask]:
    if rubric.against is None:
        return [one_reply(rubric, pair, as_json)]
    other = getattr(pair[0], rubric.against)
    return [two_replies(rubric, pair, other, reply_first, as_json) for reply_first in (True, False)]


def _read(rubric: RubricText, answers: Sequence[Said], as_json: bool) -> Verdict:
    failure = next((said for said in answers if said.failure is not None), None)
    if failure is not None:
        return failure.verdict(unscored())
    read = _one(rubric, answers[0], as_json) if rubric.against is None else _both(answers, as_json)
    raw = "\n---\n".join(said.text for said in answers)
    return read.model_copy(
        update={
            "raw": raw,
            "cost": summed(said.cost for said in answers),
            "seconds": summed(said.seconds for said in answers),
        }
    )


def _one(rubric: RubricText, said: Said, as_json: bool) -> Verdict:
    answer = _answer(said, YES_NO, as_json)
    if answer is None:
        return unscored(_unclear(said))
    if answer == "UNSURE":
        return unscored("the judge is unsure")
    verdict = scored(answer == "YES", f"{rubric.question} {answer.capitalize()}.")
    return verdict.model_copy(update={"final": verdict.outcome in rubric.sure})


def _both(answers: Sequence[Said], as_json: bool) -> Verdict:
    read = [_answer(said, WHICH, as_json) for said in answers]
    unclear = next((said for said, answer in zip(answers, read, strict=True) if answer is None), None)
    if unclear is not None:
        return unscored(_unclear(unclear))
    if read == [_FIRST, _SECOND]:
        return scored(True, "it is the better reply, in both orders", final=False)
    if read == [_SECOND, _FIRST]:
        return scored(False, "the other reply is better, in both orders", final=False)
    if read == [_TIE, _TIE]:
        return unscored("a tie, in both orders")
    return unscored(f"the judge says {read[0]} in one order and {read[1]} in the other")


def _answer(said: Said, verdicts: Sequence[str], as_json: bool) -> str | None:
    return None if said.cut_off else verdict_in(said.text, verdicts, as_json)


def _unclear(said: Said) -> str:
    if said.cut_off:
        return "the judge's answer was cut off: raise its max_tokens"
    return f"the judge's answer has no verdict of the form that was asked: {said.text[:80]!r}"
