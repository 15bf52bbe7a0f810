"""The configuration of a collection: traces of conversations as they are, without labels, at any number."""

from pydantic import Field

from mascing.schemas.base import Frozen
from mascing.schemas.config import ComputeConfig, HarvestConfig, ModelConfig
from mascing.schemas.settings.columns import ColumnsConfig
from mascing.schemas.settings.engine_settings import RunEngine, TransformersEngine
from mascing.schemas.trace_layout import Chosen


class CollectionConfig(Frozen):
    """Whose routing is recorded on which conversations, and what of it is kept."""

    name: str = Field(default="conversations", pattern=r"^[a-z0-9][a-z0-9-]*$")
    model: ModelConfig
    conversations: str = Field(
        min_length=1, description="JSON Lines, JSON, CSV, TSV, Parquet or Arrow: a file, or a folder of files"
    )
    columns: ColumnsConfig | None = Field(
        default=None, description="what the columns hold; null tells it from the file"
    )
    max_characters: int = Field(default=100_000, gt=0, description="longer conversations are quarantined")
    max_quarantined: float = Field(
        default=0.05, ge=0, le=1, description="share of the conversations that may be set aside; above it stops"
    )
    chosen: Chosen = Chosen(spans=("question", "prompt"))
    harvest: HarvestConfig = HarvestConfig()
    max_bytes: int | None = Field(default=None, gt=0, description="bytes of traces that may be stored")
    engine: RunEngine = Field(default=TransformersEngine(), description="what records")
    compute: ComputeConfig = ComputeConfig()
