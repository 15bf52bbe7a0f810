"""What `mascing serve` finds of its packages, and which engine it would take; a run needs none of them."""

from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement

from mascing.commands.surroundings.finding import Finding
from mascing.engines.installed import installed_version, vllm_version


def serving_packages() -> Iterator[Finding]:
    """Whether the extra `serve` is there, and a version of vLLM that is tested."""
    missing = [each.name for each in _extra("serve") if installed_version(each.name) is None]
    if missing:
        yield Finding(
            "note",
            "serve",
            f"{', '.join(missing)} not installed, and a run needs none: `mascing serve` does; install the extra "
            "`mascing[serve]`",
        )
    else:
        yield Finding("ok", "serve", "the packages of `mascing serve` are installed")
    yield _vllm()


def _vllm() -> Finding:
    installed = vllm_version()
    if installed is None:
        return Finding(
            "note",
            "vllm",
            "not installed: `mascing serve` runs models by transformers, for small loads, and `engine: {kind: vllm}` "
            "cannot be used; docs/environments.md says how to install it",
        )
    tested = [each.specifier for each in _extra("vllm")]
    if all(specifier.contains(installed, prereleases=True) for specifier in tested):
        return Finding("ok", "vllm", f"{installed}, a version that is tested: `mascing serve` takes it")
    return Finding(
        "note",
        "vllm",
        f"{installed} is not tested ({', '.join(map(str, tested))} is): `mascing serve` takes it, and may refuse it at "
        "the start; then give --engine transformers",
    )


def _extra(name: str) -> list[Requirement]:
    """The requirements that this extra adds."""
    every = [Requirement(line) for line in metadata.requires("mascing") or ()]
    return [
        each
        for each in every
        if each.marker and each.marker.evaluate({"extra": name}) and not each.marker.evaluate({"extra": ""})
    ]
