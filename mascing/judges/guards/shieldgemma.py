"""ShieldGemma: the probability that the reply violates a policy, by that of `Yes` against `No` as the first token.

The chat template of the checkpoint makes the prompt; the policy stands where a system turn would. The card names four
policies, each of which is judged alone.

Source: Zeng et al. 2024 (arXiv:2407.21772), the cards of google/shieldgemma-2b, -9b and -27b.
"""

from collections.abc import Mapping

from mascing.judges.guards.guard import Finding, Guard, turns, unreadable
from mascing.judges.speakers.speaker import Ask, Manner, Said
from mascing.schemas.conversation import Conversation
from mascing.schemas.settings.judging_models import GuardFinding, GuardJudge

_YES, _NO = "Yes", "No"
# Its chat template writes the turns behind these words.
_LABELS = ("Human Question:", "Chatbot Response:")


def _ask(config: GuardJudge, texts: Mapping[str, str], conversation: Conversation, reply: str) -> Ask:
    policy = {"role": "system", "content": config.guideline or ""}
    return Ask(messages=(policy, *turns(conversation, reply, _LABELS)))


def _read(config: GuardJudge, said: Said) -> Finding:
    if said.shares is None:
        return unreadable(said)
    violation = said.shares[_YES]
    finding: GuardFinding = "unsafe" if violation >= config.threshold else "safe"
    return Finding((finding,), f"violates the policy with probability {violation:.2f}")


SHIELDGEMMA = Guard(
    Manner(max_tokens=1, words=(_YES, _NO), generation_prompt=False), _ask, _read, texts={}, one_token=True
)
