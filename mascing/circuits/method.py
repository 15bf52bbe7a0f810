"""The interface of a method: a search that turns the training split into candidate masks.

Shape suffixes: L MoE layer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from torch import Tensor

from mascing.circuits.active.trials import Engine
from mascing.masks.candidates import Candidate
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
    ``trials`` replies and judges under masks, if the trials are shared with other workers; None if a search does so
    itself.
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
    trials: Engine | None = None


@dataclass(frozen=True)
class Proposal:
    """What a search returns: its candidates in grid order, its cost, and one line of progress output."""

    candidates: Sequence[Candidate]
    cost: SearchCost = field(default_factory=SearchCost)
    note: str = ""


@dataclass(frozen=True)
class Method:
    """A method that makes masks.

    ``search`` takes the material and the method's own settings, an instance of ``config``. Raise ``version`` whenever
    the search finds other masks for the same material and settings. ``rank`` orders methods by duration: the highest
    starts first, and so does a method with the default. ``judges`` says whether the method generates and judges replies
    of its own. If so, the settings for that are part of its identity, so only a method that never does may set False.

    The search runs once per search seed. Their number is the setting ``search_seeds``, one if ``config`` has no such
    field. A method with ``per_member`` searches once through each surrogate alone, which its seed also trained.
    """

    name: str
    config: type[BaseModel]
    search: Callable[[Material, Any], Proposal]
    version: int = 1
    rank: int = 10
    judges: bool = True
    per_member: bool = False
