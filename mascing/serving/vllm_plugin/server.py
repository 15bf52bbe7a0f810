"""Start vLLM's server of OpenAI's API with masks."""

import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Any

from mascing.errors import ConfigError, MascingError, ModelError, SteeringError
from mascing.models.checkpoints import one_line
from mascing.serving.options import FirstMasks, ServeOptions
from mascing.serving.vllm_plugin.front.endpoint_plugin import START, MaskEndpoints, Start
from mascing.serving.vllm_plugin.front.start_failure import start_failure
from mascing.serving.vllm_plugin.plugin_settings import KEY, settings_in

_OURS = ("--model", "--host", "--port", "--middleware", "--api-server-count")

_ENDPOINTS = "vllm.endpoint_plugins"


def serve(options: ServeOptions, first: FirstMasks) -> None:
    """Serve the model until the process is told to stop; vLLM stops its other processes then.

    The first masks are loaded before a request is admitted. Raises ConfigError for an argument of vLLM that is not the
    user's to give, SteeringError for a version or a configuration of vLLM that cannot be steered, MaskError if a mask
    is not for the model, and ModelError for all that vLLM itself fails with.
    """
    for argument in options.engine_args:
        if argument.partition("=")[0].replace("_", "-") in _OURS:
            raise ConfigError(f"{argument} cannot be given to vLLM's server: mascing serve sets it")
    _refuse_old_installation()
    os.environ.setdefault("VLLM_USE_V2_MODEL_RUNNER", "0")  # the tests run the first version of the two
    START.set(Start(options, first))
    _allow_endpoints()

    import uvloop
    from vllm.entrypoints.launchers.api_server.entry import run_server
    from vllm.entrypoints.serve.utils.api_utils import cli_env_setup

    cli_env_setup()
    with failures_told(options.model):
        uvloop.run(run_server(_arguments(options)))


@contextmanager
def failures_told(model: str) -> Iterator[None]:
    """End with one sentence below vLLM's log, with a way out. Raises ModelError for what is no error of ours."""
    instead = f"let transformers run the model: mascing serve {shlex.quote(model)} --engine transformers"
    with start_failure() as cause:
        try:
            yield
        except SteeringError as error:
            raise SteeringError(f"{error}; or {instead}") from error
        except MascingError:
            raise
        except Exception as error:  # vLLM raises what it likes
            raise ModelError(
                f"vLLM does not serve {model} ({cause() or one_line(error)}): its log above says more; mend that "
                f"(arguments for vLLM stand after --), or {instead}"
            ) from error


def _arguments(options: ServeOptions) -> Any:
    """The arguments as vLLM's own command would read them."""
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    given = ["--model", options.model, "--host", options.host, "--port", str(options.port), *options.engine_args]
    arguments = make_arg_parser(FlexibleArgumentParser(prog="mascing serve")).parse_args(given)
    for name in ("model", "host", "port"):
        if getattr(arguments, name) != getattr(options, name):  # a file of vLLM's --config says otherwise
            raise ConfigError(f"{name} cannot be given to vLLM's server: mascing serve sets it")
    arguments.additional_config = with_masks(arguments.additional_config, options.slots)
    validate_parsed_serve_args(arguments)
    return arguments


def with_masks(additional_config: Mapping[str, Any] | None, slots: int) -> dict[str, Any]:
    """The user's ``additional_config`` with the plugin turned on. Raises ConfigError for malformed settings of it."""
    given = dict(additional_config or {})
    settings = dict(given.get(KEY) or {})
    if "slots" in settings:
        raise ConfigError(f"additional_config.{KEY}.slots: give --slots to mascing serve")
    config = {**given, KEY: {**settings, "slots": slots}}
    settings_in(config)
    return config


def _refuse_old_installation() -> None:
    for group in ("vllm.general_plugins", _ENDPOINTS):
        if MaskEndpoints.name not in {entry.name for entry in entry_points(group=group)}:
            raise ConfigError(f"vLLM does not see mascing in {group}: install mascing again, so that it is told there")


def _allow_endpoints() -> None:
    """vLLM adds the endpoints of a plugin only if ``VLLM_PLUGINS`` names it, and then loads no plugin unnamed."""
    named = os.environ.get("VLLM_PLUGINS")
    others = _loaded_by_default() if named is None else named.split(",")
    os.environ["VLLM_PLUGINS"] = ",".join(dict.fromkeys([*others, MaskEndpoints.name]))


def _loaded_by_default() -> list[str]:
    groups = [group for group in sorted(entry_points().groups) if group.startswith("vllm.")]
    return [entry.name for group in groups if group != _ENDPOINTS for entry in entry_points(group=group)]
