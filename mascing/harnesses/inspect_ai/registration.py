"""What Inspect finds by its entry point: the provider of `--model mascing/PATH`, imported when it is used."""

from inspect_ai.model import ModelAPI, modelapi


@modelapi(name="mascing")
def mascing() -> type[ModelAPI]:
    """The provider."""
    from mascing.harnesses.inspect_ai.provider import SteeredAPI

    return SteeredAPI
