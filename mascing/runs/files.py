"""Names of the files in stage outputs, shared by writers and readers."""

from mascing.schemas.conversation import Split
from mascing.schemas.settings.method_settings import Span

ATTRIBUTION = "attribution.safetensors"
SELECTED = "selected.safetensors"
DEV_VERDICTS = "verdicts-dev.parquet"
MASK = "mask.safetensors"
CARD = "card.json"
PROBES = "probes.safetensors"


def conversations_prefix(split: Split) -> str:
    """The prefix of the names of the parts of a split's conversations."""
    return f"conversations-{split}-"


def unsteered_prefix(split: Split) -> str:
    """The same for the verdicts on the unsteered model's replies to a split, at the run's generation settings."""
    return f"verdicts-unsteered-{split}-"


def sampled_prefix(split: Split) -> str:
    """The same for the verdicts on further, sampled replies of the unsteered model to target conversations."""
    return f"verdicts-sampled-{split}-"


def traces_prefix(split: Split) -> str:
    """The prefix of the names of a split's trace shards."""
    return f"traces-{split}-"


def surrogate_prefix(span: Span) -> str:
    """The prefix of the names of a span's surrogates; no span's name starts with another span's and a dash."""
    return f"surrogate-{span}-"


def candidates_file(method: str) -> str:
    """All candidate masks of a method."""
    return f"candidates-{method}.safetensors"


def verdicts_file(method: str) -> str:
    """The verdicts on a method's selected mask, or on the baseline, over the test split."""
    return f"verdicts-{method}.parquet"


def condition_file(number: int, method: str) -> str:
    """The verdicts on a method under a changed condition."""
    return f"condition-{number}-{method}.parquet"


def truth_file(behaviour: str) -> str:
    """The known circuit of a testbed's behaviour."""
    return f"truth-{behaviour}.safetensors"
