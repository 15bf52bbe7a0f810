"""A part of a run that the configuration names: where it comes from, and its own options beside that."""

from typing import Any

from pydantic import ConfigDict, Field

from mascing.schemas.base import Frozen


class Plugged(Frozen):
    """``kind`` is an import path (``my_package.my_module:my_judge``) or a registered name; all else are options.

    Nothing here knows what the options may be: whoever resolves ``kind`` checks them.
    """

    model_config = ConfigDict(extra="allow")

    kind: str = Field(pattern=r"\S")

    @property
    def options(self) -> dict[str, Any]:
        """The part's own options."""
        return dict(self.model_extra or {})
