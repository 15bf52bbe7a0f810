"""Masks on the Hugging Face hub: one repository a mask, with a model card.

``huggingface_hub`` says where the hub is (``HF_ENDPOINT``) and whose token is used (``HF_TOKEN``, or its login).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from types import NoneType

from pydantic import ValidationError

from mascing.errors import MaskError
from mascing.masks.arguments import refuse_other_types
from mascing.masks.mask import Mask
from mascing.masks.text import description
from mascing.masks.unproven import why_unproven
from mascing.schemas.cards.mask_card import MaskCard
from mascing.schemas.result import Rate

MASK, CARD, README = "mask.safetensors", "card.json", "README.md"


def push(
    mask: Mask,
    repo_id: str,
    *,
    card: str | PathLike[str] | None,
    base_model: str | None,
    private: bool | None,
    revision: str | None,
    token: str | None,
) -> str:
    """Carry out :meth:`Mask.push_to_hub`."""
    _refuse_no_name(repo_id)
    refuse_other_types((str, PathLike, NoneType), card=card)
    refuse_other_types((str, NoneType), base_model=base_model, revision=revision, token=token)
    refuse_other_types((bool, NoneType), private=private)
    _refuse_unproven(mask, repo_id)
    from huggingface_hub import CommitOperationAdd, HfApi

    judged = None if card is None else _card(card, mask)
    files = {MASK: mask.to_bytes(), README: model_card(mask, repo_id, judged, base_model).encode()}
    if card is not None:
        files[CARD] = Path(card).read_bytes()
    api = HfApi(token=token)
    with _refusals(repo_id, "the mask cannot be pushed to"):
        api.create_repo(repo_id, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        commit = api.create_commit(
            repo_id,
            [CommitOperationAdd(name, content) for name, content in files.items()],
            commit_message=f"Mask {mask.digest[:12]}",
            revision=revision,
        )
    return str(commit.commit_url)


def pull(repo_id: str, revision: str | None, token: str | None) -> Mask:
    """Carry out :meth:`Mask.from_hub`."""
    _refuse_no_name(repo_id)
    refuse_other_types((str, NoneType), revision=revision, token=token)
    from huggingface_hub import hf_hub_download

    with _refusals(repo_id, "no mask can be read from"):
        path = hf_hub_download(repo_id, MASK, revision=revision, token=token)
    return Mask.load(path)


def model_card(mask: Mask, repo_id: str, card: MaskCard | None, base_model: str | None) -> str:
    """The model card of a mask: metadata, how to use it, what was measured, and its description."""
    from huggingface_hub import ModelCardData

    metadata = ModelCardData(
        library_name="mascing",
        base_model=base_model,
        tags=["mixture-of-experts", "steering", "router-mask", mask.spec.family],
        mascing={"digest": mask.digest, "rule": mask.rule.name, "router_fingerprint": mask.spec.fingerprint},
    )
    return "\n".join(
        [
            "---",
            metadata.to_yaml(),
            "---",
            "",
            f"# {repo_id}",
            "",
            f"A mask for the routers of {base_model or f'a model of the family {mask.spec.family}'}: a number for each "
            "layer and expert by which router logits are changed before selection. It fits the model whose routers "
            f"have the fingerprint `{mask.spec.fingerprint[:12]}`, and is refused by any other.",
            "",
            "```python",
            "import mascing",
            "",
            f'mask = mascing.Mask.from_hub("{repo_id}")',
            "with mascing.steer(model, mask):",
            "    model.generate(**inputs)",
            "```",
            "",
            "## What was measured",
            "",
            *_measured(card),
            "",
            "## The mask",
            "",
            "```",
            description(mask),
            "```",
            "",
        ]
    )


def _measured(card: MaskCard | None) -> Iterator[str]:
    if card is None:
        yield "Nothing is known here of what this mask does: it came without a card. Judge it before it serves."
        return
    yield f"Behaviour `{card.behaviour}`, method `{card.method}`, on held-out test conversations, with 95% intervals."
    yield ""
    yield "| set | without the mask | with it |"
    yield "|---|---|---|"
    pairs = {"target": (card.baseline.target_rate, card.result.target_rate)}
    for kind in ("utility", "protected"):
        with_it = getattr(card.result, kind)
        for name, rate in getattr(card.baseline, kind).items():
            pairs[f"{kind}/{name}"] = rate, with_it.get(name)
    for name, (before, after) in pairs.items():
        yield f"| {name} | {_rate(before)} | {_rate(after)} |"
    yield ""
    reasons = f" ({'; '.join(card.result.reasons)})" if card.result.reasons else ""
    yield f"Gates: {card.result.gate}{reasons}."


def _rate(rate: Rate | None) -> str:
    if rate is None:
        return "-"
    return f"{rate.value:.1%} ({rate.low:.1%} to {rate.high:.1%}, n = {rate.n})"


def _card(place: str | PathLike[str], mask: Mask) -> MaskCard:
    try:
        card = MaskCard.model_validate_json(Path(place).read_bytes())
    except (OSError, ValidationError) as error:
        said = str(error).splitlines()[0]
        raise MaskError(f"{place} is not the card.json of a published mask: {said}") from error
    if card.mask_digest != mask.digest:
        raise MaskError(
            f"the card at {place} is another mask's: it is for digest {card.mask_digest[:12]}, this mask has "
            f"{mask.digest[:12]}. A mask that was scaled or added to is a new mask, with no card of its own"
        )
    return card


def _refuse_no_name(repo_id: object) -> None:
    if not isinstance(repo_id, str):
        raise MaskError(f"repo_id must be a str, not {type(repo_id).__name__}: write owner/name")


def _refuse_unproven(mask: Mask, repo_id: str) -> None:
    """As channels do (`mascing/runs/registry.py`): who finds a mask in a public place takes it for a proven one."""
    if (why := why_unproven(mask)) is not None:
        raise MaskError(
            f"the mask is unproven ({why}) and does not go to {repo_id}: push a mask that a run published. To let "
            "somebody look at this one, save it with Mask.save and send the file"
        )


@contextmanager
def _refusals(repo_id: str, what: str) -> Iterator[None]:
    """Any refusal of the hub, or of its name for a repository, as a MaskError."""
    from huggingface_hub import errors

    # Of httpx or httpx2, whichever this release of huggingface_hub uses.
    network_error: type[Exception] = errors.HTTPError  # type: ignore[attr-defined]
    try:
        yield
    except (errors.HFValidationError, network_error, OSError) as error:
        # The second line says what is missing, where there is one; the first is the status.
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise MaskError(
            f"{what} {repo_id}: {lines[min(1, len(lines) - 1)]} Check the name, the revision and the token "
            "(`hf auth login`, or HF_TOKEN)"
        ) from error
