"""The interface of a method: a search that turns the training split into candidate masks.

Shape suffixes: L MoE layer.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from torch import Tensor

from mascing.circuits.active.trials import Trial
from mascing.masks.candidates import Candidate
from mascing.masks.mask import Mask
from mascing.models.loading import Loaded
from mascing.routers.spec import RouterSpec
from mascing.schemas.cards.search_cost import SearchCost
from mascing.schemas.config import BehaviourConfig, ComputeConfig, GenerationConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.settings.method_settings import Span
from mascing.surrogates.surrogate import Surrogate
from mascing.traces.trace_set import Traces


@dataclass(frozen=True)
class Material:
    """What a search may learn from: the training split and nothing else.

    ``model()`` loads the model once and returns it on every call. ``conversations`` is the whole split. ``contrast`` is
    its labelled and matched target conversations, whose ``traces`` are recorded. ``sigma_L`` [L] is the calibrated
    spread of each layer's logits. ``surrogates(spans)`` returns the members of each span's ensemble, or one of them for
    a method that searches ``per_member``; they are trained for the spans of `mascing` and `consensus`. ``behaviour``
    and ``generation`` say how trials are judged and generated. ``seed`` is that of this search: a method that searches
    several times gets another one each time. ``compute`` bounds the memory of backward passes and changes nothing else.
    """

    model: Callable[[], Loaded]
    conversations: Sequence[Conversation]
    contrast: Sequence[Conversation]
    traces: Traces
    spec: RouterSpec
    sigma_L: Tensor
    surrogates: Callable[[tuple[Span, ...]], Mapping[Span, Sequence[Surrogate]]]
    behaviour: BehaviourConfig
    generation: GenerationConfig
    seed: int
    compute: ComputeConfig


@dataclass(frozen=True)
class Proposal:
    """What a search returns: its candidates in grid order, its cost, and one line of progress output."""

    candidates: Sequence[Candidate]
    cost: SearchCost = field(default_factory=SearchCost)
    note: str = ""


@dataclass(frozen=True)
class Asked:
    """The trials that a search needs to go on: the n-th is the conversation at ``places[n]`` under ``masks[n]``.

    ``places`` count in the conversations of the material. ``state`` is what the search must be given with the trials.
    """

    places: Sequence[int]
    masks: Sequence[Mask]
    state: bytes


Past = Sequence[Iterable[tuple[int, Trial]]]
"""The trials of all rounds so far, in the order of the rounds; each trial with its number, in any order."""


@dataclass(frozen=True)
class Method:
    """A method that makes masks.

    ``search`` takes the material and the method's own settings, an instance of ``config``. Raise ``version`` whenever
    the search finds other masks for the same material and settings. ``rank`` orders methods by duration: the highest
    starts first, and so does a method with the default. ``judges`` says whether the method generates and judges replies
    of its own. If so, the settings for that are part of its identity, so only a method that never does may set False.

    The search runs once per search seed. Their number is the setting ``search_seeds``, one if ``config`` has no such
    field. A method with ``per_member`` searches once through each surrogate alone, which its seed also trained.

    ``go_on`` is the same search in steps, so that all workers can share its trials: given the material, the settings,
    the state that it returned last (None at first) and the past, it asks for the trials of the next round, or returns
    the proposal of ``search``. Each step may run in another process.
    """

    name: str
    config: type[BaseModel]
    search: Callable[[Material, Any], Proposal]
    version: int = 1
    rank: int = 10
    judges: bool = True
    per_member: bool = False
    go_on: Callable[[Material, Any, bytes | None, Past], Asked | Proposal] | None = None
