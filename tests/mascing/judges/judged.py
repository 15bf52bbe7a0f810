"""Judge one reply by one judge."""

from mascing.conversations.reply import Reply
from mascing.judges.judging import judge_by
from mascing.schemas.conversation import Conversation
from mascing.schemas.settings.judge_settings import JudgeConfig
from mascing.schemas.verdict import Verdict


def judged_by(judge: JudgeConfig, conversation: Conversation, reply: str) -> Verdict:
    """The verdict on a reply that was not cut off."""
    [verdict] = judge_by(judge, [conversation], [Reply(reply)])
    return verdict
