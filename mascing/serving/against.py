"""Prove on a running server that a mask acts there: by what its replies say of themselves, and by what they say."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
from pydantic import ValidationError

from mascing.errors import EndpointError, MaskError, SteeringError
from mascing.masks.mask import Mask, refuse_empty
from mascing.masks.rules import OverrideRule
from mascing.schemas.conversation import Message
from mascing.serving.choice import MASK, MEMBER, NO_MASK, SELECTED
from mascing.serving.in_force import InForce
from mascing.steering.verification import Proof

_TEXTS = (
    "Hello, who are you?",
    "Count from one to ten.",
    "What is the capital of France?",
    "Write one sentence about the sea.",
)
CANARIES = tuple((Message(role="user", content=text),) for text in _TEXTS)
"""Harmless questions, for a mask of which no conversations are at hand."""

_TOKENS = 24
_SECONDS = 300.0


def verify_against(mask: Mask, url: str, asked: Sequence[Sequence[Message]] = CANARIES) -> Iterator[Proof]:
    """Ask the server at ``url`` for greedy replies without and with the mask, and yield each proof.

    ``asked`` are conversations that end with a user turn.

    Raises:
        EndpointError: if the server does not answer as one that serves masks.
        MaskError: if it does not hold the mask.
        SteeringError: if its replies do not say that the mask steered them, or if neither they nor the experts that
            they select change more with the mask than from one time to the next without it.
    """
    refuse_empty(mask)
    with _Server(url) as server:
        yield Proof(f"{server.url} serves {server.model}")
        plain, steered, again = (
            [server.reply(messages, name) for messages in asked] for name in (NO_MASK, mask.digest, NO_MASK)
        )
    _refuse_unproven([*plain, *again], None)
    _refuse_unproven(steered, mask)
    _refuse_other_counts([*plain, *steered, *again], mask)
    tokens = sum(min(reply.in_force.steered_tokens.values()) for reply in steered)
    layers = len(steered[0].in_force.steered_tokens)
    yield Proof(
        f"holds the mask, as {steered[0].in_force.mask} with digest {mask.digest}; {len(steered)} replies say that it "
        f"steered them: {tokens} tokens in each of {layers} layers"
    )
    if not all(reply.selected for reply in (*plain, *steered, *again)):
        yield Proof("the server cannot count which experts its tokens select: the replies alone are compared", False)
    elif isinstance(mask.rule, OverrideRule):
        yield _forces(mask, mask.rule, steered)
    by_mask, by_chance = _Changes.between(plain, steered), _Changes.between(plain, again)
    if by_mask.replies <= by_chance.replies and by_mask.selections <= by_chance.selections:
        raise SteeringError(
            f"the mask changes {by_mask}; without it, {by_chance} change from one time to the next: nothing shows that "
            "it acts, so prove it on the model itself (mascing mask verify MASK --model FOLDER)"
        )
    yield Proof(f"changes {by_mask}; without it, {by_chance} change from one time to the next")


@dataclass(frozen=True)
class _Reply:
    """``routed`` tokens of prompt and reply went through the model, by the server's own ``usage``: all but the last.

    ``selected`` is empty if the server cannot count selections.
    """

    text: str
    routed: int
    in_force: InForce
    selected: Mapping[str, Sequence[int]]


class _Server:
    """An OpenAI-compatible server that serves one model with masks."""

    def __init__(self, url: str) -> None:
        root = url.rstrip("/").removesuffix("/v1")
        self.url = root if "://" in root else f"http://{root}"
        self._http = httpx.Client(base_url=f"{self.url}/v1", timeout=_SECONDS)
        listed = self._json("GET", "/models").get("data")
        if not (isinstance(listed, Sequence) and listed and isinstance(listed[0], Mapping) and "id" in listed[0]):
            raise EndpointError(f"{self.url} names no model: give the address of a server that `mascing serve` started")
        self.model = str(listed[0]["id"])

    def reply(self, messages: Sequence[Message], mask: str) -> _Reply:
        """The greedy reply under a mask, with its selections."""
        answer = self._json(
            "POST",
            "/chat/completions",
            {
                "model": self.model,
                "messages": [message.model_dump() for message in messages],
                "max_tokens": _TOKENS,
                "temperature": 0,
                # What a prefix cache had is not computed, and so not counted.
                "cache_salt": uuid4().hex,
                "vllm_xargs": {MASK: mask, SELECTED: 1},
            },
        )
        try:
            in_force = InForce.model_validate(answer[MEMBER])
            said = answer["choices"][0]["message"]["content"]
            routed = answer["usage"]["prompt_tokens"] + answer["usage"]["completion_tokens"] - 1
        except (KeyError, IndexError, TypeError, ValidationError) as error:
            raise SteeringError(
                f"the replies of {self.url} do not say which mask was in force: it is no server that `mascing serve` "
                "started, and nothing shows that a mask acts there"
            ) from error
        if in_force.selected is None:
            raise SteeringError(f"{self.url} was asked to count selections, and its replies do not tell them")
        return _Reply(said or "", routed, in_force, in_force.selected)

    def _json(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        try:
            answer = self._http.request(method, path, json=body)
            content = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise EndpointError(f"no server of masks answers at {self.url}: {error or type(error).__name__}") from error
        if answer.is_error or not isinstance(content, dict):
            if answer.status_code == 400:
                raise MaskError(
                    f"{self.url} refuses the mask: {_message(content)}; start it with --mask, "
                    "or load the mask by POST /mascing/masks"
                )
            raise EndpointError(f"{self.url} answers {answer.status_code}: {_message(content)}")
        return content

    def __enter__(self) -> "_Server":
        return self

    def __exit__(self, *error: object) -> None:
        self._http.close()


def _message(content: Any) -> str:
    """What an error says, in OpenAI's shape or in none."""
    error = content.get("error", content) if isinstance(content, dict) else content
    return str(error.get("message", error) if isinstance(error, dict) else error)


class _Changes(NamedTuple):
    """Greedy replies that differ, and selections that went to other experts, at least: longer replies select more."""

    of: int
    replies: int
    selections: int

    @classmethod
    def between(cls, some: Sequence[_Reply], others: Sequence[_Reply]) -> "_Changes":
        """The changes from some replies to others to the same questions."""
        pairs = list(zip(some, others, strict=True))
        return cls(
            len(pairs),
            sum(one.text != other.text for one, other in pairs),
            sum(_moved(one.selected, other.selected) for one, other in pairs),
        )

    def __str__(self) -> str:
        return f"{self.replies} of {self.of} greedy replies and {self.selections} selections of experts"


def _moved(before: Mapping[str, Sequence[int]], after: Mapping[str, Sequence[int]]) -> int:
    """Selections that went to other experts."""
    return sum(
        max(0, b - a) for layer in before.keys() & after for a, b in zip(before[layer], after[layer], strict=True)
    )


def _forces(mask: Mask, rule: OverrideRule, steered: Sequence[_Reply]) -> Proof:
    """Each token selects the experts that are forced on, and none of those that are forced off."""
    for row, layer in enumerate(map(str, mask.spec.layer_ids)):
        tokens = sum(reply.in_force.steered_tokens[layer] for reply in steered)
        of_layer = [sum(counts) for counts in zip(*(reply.selected[layer] for reply in steered), strict=True)]
        on, off = (tensor[row].nonzero().flatten().tolist() for tensor in (rule.activated_LE, rule.deactivated_LE))
        wrong = [expert for expert in off if of_layer[expert]] + [expert for expert in on if of_layer[expert] != tokens]
        if wrong:
            raise SteeringError(
                f"expert {wrong[0]} of layer {layer} is forced {'off' if wrong[0] in off else 'on'}, and "
                f"{of_layer[wrong[0]]} of {tokens} tokens selected it"
            )
    n_on, n_off = int(rule.activated_LE.sum()), int(rule.deactivated_LE.sum())
    return Proof(f"forces {n_on} experts on and {n_off} off: all tokens select those forced on, none those forced off")


def _refuse_unproven(replies: Sequence[_Reply], mask: Mask | None) -> None:
    """Raise SteeringError unless each reply says that this mask steered it, in every MoE layer where it moves one."""
    for reply in replies:
        in_force = reply.in_force
        if in_force.digest != (None if mask is None else mask.digest):
            asked = "no mask" if mask is None else f"the mask {mask.digest[:12]}"
            raise SteeringError(
                f"{asked} was asked for, and the reply says that {in_force.digest or 'none'} was in force"
            )
        if mask is None:
            continue
        moved = mask.rule.entries_LE.any(dim=1).tolist()
        layers = [layer for layer, is_moved in zip(mask.spec.layer_ids, moved, strict=True) if is_moved]
        for layer in layers:
            found = in_force.steered_tokens.get(str(layer), 0)
            if found < reply.routed:
                raise SteeringError(
                    f"the reply says that {found} of its {reply.routed} tokens were steered in layer {layer}, where "
                    "the mask has entries"
                )


def _refuse_other_counts(replies: Sequence[_Reply], mask: Mask) -> None:
    """Raise SteeringError for selections that are not of the layers and experts of the mask."""
    wanted = dict.fromkeys(map(str, mask.spec.layer_ids), mask.spec.n_experts)
    for reply in replies:
        if reply.selected and {layer: len(counts) for layer, counts in reply.selected.items()} != wanted:
            raise SteeringError(
                "a reply counts the selections of other layers or experts than the mask has: nothing shows that the "
                "server runs the model of the mask"
            )
