"""Prove on a running server that a mask acts there: by what its replies say of themselves, and by what they say."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import ValidationError

from mascing.errors import EndpointError, MaskError, SteeringError
from mascing.masks.mask import Mask, refuse_empty
from mascing.masks.rules import OverrideRule
from mascing.serving.choice import MASK, MEMBER, NO_MASK, SELECTED
from mascing.serving.in_force import InForce
from mascing.steering.verification import Proof

CANARIES = (
    "Hello, who are you?",
    "Count from one to ten.",
    "What is the capital of France?",
    "Write one sentence about the sea.",
)
"""What is asked without and with the mask; harmless, and answered greedily."""

_TOKENS = 24
_SECONDS = 300.0


def verify_against(mask: Mask, url: str) -> Iterator[Proof]:
    """Ask the server at ``url`` the canaries without and with the mask, and yield each proof.

    Raises:
        EndpointError: if the server does not answer as one that serves masks.
        MaskError: if it does not hold the mask.
        SteeringError: if its replies do not say that the mask steered them, or if neither they nor the experts that
            they select, where the server counts these, differ from those without it.
    """
    refuse_empty(mask)
    with _Server(url) as server:
        yield Proof(f"{server.url} serves {server.model}")
        plain = [server.reply(text, NO_MASK) for text in CANARIES]
        steered = [server.reply(text, mask.digest) for text in CANARIES]
    _refuse_unproven(plain, None)
    _refuse_unproven(steered, mask)
    tokens = sum(min(reply.in_force.steered_tokens.values()) for reply in steered)
    layers = len(steered[0].in_force.steered_tokens)
    yield Proof(
        f"holds the mask, as {steered[0].in_force.mask} with digest {mask.digest}; {len(steered)} replies say that it "
        f"steered them: {tokens} tokens in each of {layers} layers"
    )
    counted = server.counts
    if counted and isinstance(mask.rule, OverrideRule):
        yield _forces(mask, mask.rule, _counts(steered))
    changed = sum(with_it.text != without.text for with_it, without in zip(steered, plain, strict=True))
    moved = _moved(_counts(plain), _counts(steered)) if counted else 0
    if not changed and not moved:
        same = "and the experts that they select are" if counted else "are"
        raise SteeringError(
            f"all of {len(CANARIES)} greedy replies {same} the same with the mask as without, so nothing shows that it "
            "acts: prove it on the model itself (mascing mask verify MASK --model FOLDER); a weak mask may change none"
        )
    selections = f", and sends {moved} selections to other experts" if counted else ""
    yield Proof(f"changes {changed} of {len(CANARIES)} greedy replies{selections}")


@dataclass(frozen=True)
class _Reply:
    text: str
    in_force: InForce


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
        self.counts = True
        try:
            self.reply(CANARIES[0], NO_MASK)
        except MaskError:  # this server does not count
            self.counts = False

    def reply(self, text: str, mask: str) -> _Reply:
        """The greedy reply under a mask, with its selections if the server counts them."""
        answer = self._json(
            "POST",
            "/chat/completions",
            {
                "model": self.model,
                "messages": [{"role": "user", "content": text}],
                "max_tokens": _TOKENS,
                "temperature": 0,
                "vllm_xargs": {MASK: mask, **({SELECTED: 1} if self.counts else {})},
            },
        )
        try:
            in_force = InForce.model_validate(answer[MEMBER])
            said = answer["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError, ValidationError) as error:
            raise SteeringError(
                f"the replies of {self.url} do not say which mask was in force: it is no server that `mascing serve` "
                "started, and nothing shows that a mask acts there"
            ) from error
        return _Reply(said or "", in_force)

    def _json(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        try:
            answer = self._http.request(method, path, json=body)
            content = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise EndpointError(f"no server of masks answers at {self.url}: {error or type(error).__name__}") from error
        if answer.is_error or not isinstance(content, dict):
            error_type = MaskError if answer.status_code == 400 else EndpointError
            raise error_type(f"{self.url} answers {answer.status_code}: {_message(content)}")
        return content

    def __enter__(self) -> "_Server":
        return self

    def __exit__(self, *error: object) -> None:
        self._http.close()


def _message(content: Any) -> str:
    """What an error says, in OpenAI's shape or in none."""
    error = content.get("error", content) if isinstance(content, dict) else content
    return str(error.get("message", error) if isinstance(error, dict) else error)


_Counts = dict[str, list[int]]
"""How often each expert was selected, by depth of the MoE layer."""


def _counts(replies: Sequence[_Reply]) -> _Counts:
    """The selections of all replies. Raises SteeringError if one does not tell them."""
    told = [reply.in_force.selected for reply in replies]
    if not all(told):
        raise SteeringError("the server was asked to count selections, and its replies do not tell them")
    layers = told[0] or {}
    return {layer: [sum(each) for each in zip(*((of or {})[layer] for of in told), strict=True)] for layer in layers}


def _moved(plain: _Counts, steered: _Counts) -> int:
    """Selections that went elsewhere, at least: replies of other lengths select more often in all."""
    return sum(max(0, a - b) for layer in plain for a, b in zip(steered[layer], plain[layer], strict=True))


def _forces(mask: Mask, rule: OverrideRule, counts: _Counts) -> Proof:
    """Each token selects the experts that are forced on, and none of those that are forced off."""
    for row, layer in enumerate(mask.spec.layer_ids):
        of_layer = counts[str(layer)]
        tokens = sum(of_layer) // mask.spec.top_k
        on, off = (tensor[row].nonzero().flatten().tolist() for tensor in (rule.activated_LE, rule.deactivated_LE))
        wrong = [expert for expert in off if of_layer[expert]] + [expert for expert in on if of_layer[expert] != tokens]
        if wrong:
            raise SteeringError(
                f"expert {wrong[0]} of layer {layer} is forced {'off' if wrong[0] in off else 'on'}, and "
                f"{of_layer[wrong[0]]} of {tokens} tokens selected it"
            )
    return Proof("all tokens select the experts that are forced on, and none those that are forced off")


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
        unsteered = [layer for layer in layers if not in_force.steered_tokens.get(str(layer))]
        if unsteered:
            raise SteeringError(
                f"the reply says that no token was steered in layer {unsteered[0]}, where the mask has entries"
            )
