"""The frozen, strict base of every schema."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """An immutable record that refuses unknown keys and numbers that are not finite.

    Defaults are validated as what is given is: a default of 0 for a float would have another fingerprint than the 0.0
    that is read back from a file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False, validate_default=True)
