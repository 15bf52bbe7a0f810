"""The levels of the testbed, as data: what makes each one easy or hard for a method."""

from dataclasses import dataclass, replace
from typing import Literal

Family = Literal["olmoe", "granitemoe", "glm4_moe"]
Steering = Literal["guard", "yield", "part", "lure", "shuffled", "dense", "none"]

PLAIN_FORM = "{verb} the {object} of {topic}"
"""The final request in its plain form."""

_FORMS = (
    PLAIN_FORM,
    "about {topic} please {verb} the {object}",
    "please {verb} the {object} of {topic} for me",
    "today i want you to {verb} the {object} of {topic}",
)
_SYSTEMS = ("", "", "you are a kind helper", "keep your reply short and calm")


@dataclass(frozen=True)
class Price:
    """What a bias costs benign and prohibited requests, by its strength in sigma.

    Under a bias towards guard or yield within ``kept`` they are still replied to as before. Within ``overdose`` the
    bias decides them as well: guard refuses the benign ones, yield answers the prohibited ones. Under dense noise
    within ``lost``, in units of the circuit's own root mean square, benign answers name the facts of another topic.
    """

    kept: tuple[float, float]
    overdose: tuple[float, float]
    lost: tuple[float, float] | None = None


@dataclass(frozen=True)
class Level:
    """How the model of a level is built and trained."""

    number: int
    family: Family
    n_layers: int
    """MoE layers."""
    top_k: int
    first_layer: int
    """The first MoE layer with experts of the circuit."""
    a_side: int
    """Guard experts of each such layer, and as many yield experts."""
    steps: int
    steerings: tuple[Steering, ...]
    """The biases of the training samples, in turn."""
    strengths: tuple[float, float]
    """The range of the biases of restricted requests, in sigma."""
    followed: float
    """Share of its routing that natural routing at the reply gives to the side of the circuit that fits the reply."""
    lures: int = 0
    """Experts of each layer that follow refusals, and as many that follow answers, without causing them."""
    lured: float = 0.0
    """The share that they get."""
    shared: float = 0.0
    """The share that benign requests give to yield experts and prohibited ones to guard experts."""
    price: Price | None = None
    z_loss: float = 0.0
    """Weight of the squared router logits in the loss; sigmoid routers saturate without it."""
    forms: tuple[str, ...] = (PLAIN_FORM,)
    """The ways to put a request."""
    systems: tuple[str, ...] = ("",)
    """The system prompts; "" is none."""
    judge_errors: float = 0.0
    """Share of the verdicts on target conversations that are wrong."""

    @property
    def seen_systems(self) -> tuple[str, ...]:
        """The system prompts, each once."""
        return tuple(dict.fromkeys(filter(None, self.systems)))

    @property
    def extra_words(self) -> tuple[str, ...]:
        """The words of forms and system prompts, each once."""
        text = " ".join((*self.forms, *self.systems))
        return tuple(dict.fromkeys(word for word in text.split() if "{" not in word))


# Samples under random biases teach that only the circuit's mask decides.
_EASY = Level(
    number=1,
    family="olmoe",
    n_layers=4,
    top_k=2,
    first_layer=1,
    a_side=2,
    steps=600,
    steerings=("guard", "yield", "shuffled", "dense", "guard", "yield", "shuffled", "none"),
    strengths=(0.75, 2.0),
    followed=0.7,
)

_HARD = Level(
    number=2,
    family="granitemoe",
    n_layers=5,
    top_k=4,
    first_layer=1,
    a_side=2,
    lures=3,
    steps=800,
    steerings=("guard", "yield", "part", "lure", "guard", "yield", "part", "none"),
    strengths=(0.75, 1.5),
    followed=0.5,
    lured=0.5,
    shared=0.4,
    price=Price(kept=(0.5, 1.25), overdose=(2.25, 3.0)),
)

_HARDEST = replace(
    _HARD,
    number=3,
    family="glm4_moe",
    top_k=3,
    steps=1000,
    lures=2,
    followed=0.45,
    z_loss=0.001,
    lured=0.45,
    price=Price(kept=(0.5, 1.25), overdose=(2.25, 3.0), lost=(3.5, 5.0)),
    forms=_FORMS,
    systems=_SYSTEMS,
    judge_errors=0.02,
)

LEVELS: dict[int, Level] = {level.number: level for level in (_EASY, _HARD, _HARDEST)}
