"""`mascing serve`: an OpenAI-compatible server whose requests choose masks."""

import ipaddress
import logging
import os
import shlex
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mascing.commands.options import DEFAULT_STORAGE, StorageOption
from mascing.errors import ConfigError, MascingError
from mascing.prose import echo_prose

if TYPE_CHECKING:
    from mascing.serving.options import FirstMasks, ServeOptions

_NEEDED = ("uvicorn", "prometheus_client")
"""The packages of the extra `serve`."""

_THIN = "this server is thin, for small loads"


class EngineName(StrEnum):
    """What runs the model: by default vLLM, where it is installed and not known to be unable."""

    AUTO = "auto"
    VLLM = "vllm"
    TRANSFORMERS = "transformers"


def serve(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Folder, storage URL or hub id of the model.")],
    engine_args: Annotated[
        list[str] | None, typer.Argument(metavar="[-- ARGS]", help="After --: arguments for vLLM's own server.")
    ] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=URL", help="A mask, and the name by which requests ask for it; may be repeated."),
    ] = None,
    default: Annotated[
        str | None, typer.Option(metavar="NAME", help="The mask of requests that ask for none; by default no mask.")
    ] = None,
    follow: Annotated[
        str | None,
        typer.Option(metavar="CHANNEL", help="Its mask is the default, and moves with it: behaviour@channel."),
    ] = None,
    storage: StorageOption = DEFAULT_STORAGE,
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0 is every one of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen at.")] = 8000,
    slots: Annotated[int, typer.Option(min=1, help="Masks that are held at once.")] = 64,
    engine: Annotated[EngineName, typer.Option(help="What runs the model; auto is vLLM wherever it works.")] = (
        EngineName.AUTO
    ),
    control_anywhere: Annotated[
        bool, typer.Option("--control-anywhere", help="Let clients of other machines control the masks, by the token.")
    ] = False,
) -> None:
    """Serve a model over OpenAI's API, where each request chooses its mask.

    A request chooses by `"vllm_xargs": {"mascing_mask": NAME}`; one that does not gets the default, and "none" asks for
    the model as it is. Each reply says in `mascing` which mask was in force and how many tokens it steered.

    With a token in MASCING_CONTROL_TOKEN, masks are loaded, unloaded and made the default at /mascing while the server
    runs, from this machine.

    Examples:

      mascing serve ./my-model --mask defence=jailbreak-defence@candidate --default defence

      mascing serve ./my-model --follow jailbreak-defence@production --storage s3://bucket/mascing
    """
    from mascing.serving.options import FirstMasks, ServeOptions

    asked = ServeOptions(
        model=model,
        host=host,
        port=port,
        masks=_named(mask or []),
        default=default,
        follow=follow,
        storage=storage,
        slots=slots,
        control_anywhere=control_anywhere,
        engine_args=tuple(engine_args or ()),
    )
    _refuse_missing_packages()
    _refuse_absent_model(model)
    with _told_of_arguments():
        chosen, why = _engine(engine, model)
    if asked.engine_args and chosen is EngineName.TRANSFORMERS:
        raise ConfigError(
            f"{' '.join(asked.engine_args)}: arguments after -- are for vLLM, and transformers runs: {why}"
        )
    first = FirstMasks.of(asked)
    _refuse_taken(host, port)
    echo_prose(f"{chosen.value} runs {model}: {why}")
    echo_prose(_told(first))
    for line in (*_unproven(first), *_open_to(asked)):
        echo_prose(line)
    with _log_shown(), _told_of_arguments():
        _serve(chosen, asked, first)


def _serve(chosen: EngineName, asked: "ServeOptions", first: "FirstMasks") -> None:
    if chosen is EngineName.VLLM:
        from mascing.serving.vllm_plugin.server import serve as serve_vllm

        serve_vllm(asked, first)
    else:
        from mascing.serving.thin_endpoint.server import serve as serve_transformers

        serve_transformers(asked, first)


@contextmanager
def _told_of_arguments() -> Iterator[None]:
    """Let errors about a model name the argument of this command."""
    try:
        yield
    except MascingError as error:
        error.args = (str(error).replace("model.path", "MODEL"),)  # there is no configuration file here
        raise


@contextmanager
def _log_shown() -> Iterator[None]:
    """Show what is logged of masks on stderr: no engine's own logging shows it, and swaps are no warnings."""
    log, handler = logging.getLogger("mascing.serving"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = log.level
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def _named(given: list[str]) -> dict[str, str]:
    masks: dict[str, str] = {}
    for entry in given:
        name, equals, url = entry.partition("=")
        if not (name and equals and url):
            raise ConfigError(f"--mask {entry!r}: give NAME=URL, such as defence=jailbreak-defence@candidate")
        if name in masks:
            raise ConfigError(f"--mask {name} is given twice: each mask has a name of its own")
        masks[name] = url
    return masks


def _engine(asked: EngineName, model: str) -> tuple[EngineName, str]:
    """The engine that runs, and why. Raises ConfigError if it is not installed or known not to load the model."""
    from mascing.engines.installed import vllm_version

    if asked is EngineName.TRANSFORMERS:
        return asked, "--engine says so"
    if vllm_version() is None:
        if asked is EngineName.VLLM:
            raise ConfigError(
                "--engine vllm: vLLM is not installed here: docs/environments.md says under `vLLM` how to install it; "
                "or leave out --engine, and transformers runs the model"
            )
        return EngineName.TRANSFORMERS, f"vLLM is not installed; {_THIN}"
    reason = _why_not_by_vllm(model)
    if reason is None:
        return EngineName.VLLM, "vLLM is installed" if asked is EngineName.AUTO else "--engine says so"
    if asked is EngineName.VLLM:
        raise ConfigError(
            f"vLLM cannot load {model}: {reason}; let transformers run it: mascing serve {shlex.quote(model)} "
            "--engine transformers"
        )
    return EngineName.TRANSFORMERS, f"vLLM is installed and cannot load it: {reason}; {_THIN}"


def _why_not_by_vllm(model: str) -> str | None:
    from mascing.engines.installed import is_vllm_on_cpu
    from mascing.engines.unloadable import why_unloadable
    from mascing.models.checkpoints import local_folder
    from mascing.models.model_folder import settings_of
    from mascing.schemas.config import ModelConfig

    with local_folder(ModelConfig(path=model), weights=False) as folder:
        return why_unloadable(folder, settings_of(folder), is_vllm_on_cpu())


def _refuse_missing_packages() -> None:
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigError(f"this needs {' and '.join(missing)}, not installed here: pip install 'mascing[serve]'")


def _refuse_absent_model(model: str) -> None:
    """Raise ConfigError for a folder that is not there: better now than from the depths of an engine."""
    from mascing.models.checkpoints import is_hub_id

    if not ("://" in model or is_hub_id(model) or Path(model).expanduser().is_dir()):
        raise ConfigError(f"the model folder {model} does not exist: MODEL is a folder, a URL or a hub id")


def _refuse_taken(host: str, port: int) -> None:
    """Raise ConfigError if nobody can listen there: better now than once the model is loaded."""
    try:
        [(family, kind, _, _, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        with socket.socket(family, kind) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        raise ConfigError(
            f"nobody can listen at {host}:{port} ({error.strerror}): choose another --port or --host"
        ) from error


def _told(first: "FirstMasks") -> str:
    """The masks that it starts with."""
    named = ", ".join(first.masks) or "none"
    if first.channel and first.followed:
        default = f"that of {first.channel.address}, now {first.followed.digest}"
    elif first.default is not None:
        default = f"{first.default}, {first.masks[first.default].digest}"
    else:
        default = "no mask"
    return f"masks by name: {named}; the default: {default}"


def _unproven(first: "FirstMasks") -> Iterator[str]:
    """Which masks passed no gates, and why; a channel has none."""
    from mascing.masks.unproven import why_unproven

    for name, mask in first.masks.items():
        if (why := why_unproven(mask)) is not None:
            yield f"note: {name} is unproven: nothing shows that it does what it should ({why})"


def _open_to(asked: "ServeOptions") -> Iterator[str]:
    """Who controls the masks, and who gets replies if that is more than this machine."""
    from mascing.serving.control import TOKEN

    if os.environ.get(TOKEN, "").strip():
        clients = "any machine" if asked.control_anywhere else "this machine"
        yield f"control is on: clients of {clients} change the masks by the token in {TOKEN}"
    else:
        yield f"control is off: nobody changes the masks by request, since {TOKEN} is not set"
    if not _is_of_this_machine(asked.host):
        yield f"note: replies need no token: whoever reaches port {asked.port} of {asked.host} gets them"


def _is_of_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
