"""A plugged part of a run: its import path or registered name, and its own options."""

from typing import Any

from pydantic import ConfigDict, Field

from mascing.schemas.base import Frozen


class Plugged(Frozen):
    """``kind`` is an import path (``my_package.my_module:my_judge``) or a registered name; other keys are options.

    This schema accepts any options; the code that resolves ``kind`` checks them.
    """

    model_config = ConfigDict(extra="allow")

    kind: str = Field(pattern=r"\S")

    @property
    def options(self) -> dict[str, Any]:
        """The part's own options."""
        return dict(self.model_extra or {})
