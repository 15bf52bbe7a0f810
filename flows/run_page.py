"""What Prefect's page of a run shows of it at once: its name and its tags."""

from collections.abc import Iterator
from contextlib import contextmanager

from prefect import get_client, tags
from prefect.context import FlowRunContext
from prefect.runtime import flow_run

from mascing.models.checkpoints import model_name
from mascing.schemas.config import RunConfig


def behaviour_on_model() -> str:
    """The name of the run that Prefect is about to start, from the parameter ``config`` of its flow."""
    config: RunConfig = flow_run.parameters["config"]
    return f"{config.behaviour.name} on {model_name(config.model)}"


@contextmanager
def tagged(config: RunConfig, *also: str) -> Iterator[None]:
    """Tag the running flow, and all that the block starts, with behaviour, model and ``also``.

    The tags that the run has already, for instance from its deployment, stay.
    """
    context = FlowRunContext.get()
    assert context is not None, "only a running flow has tags"
    assert context.flow_run is not None
    with tags(*context.flow_run.tags, config.behaviour.name, model_name(config.model), *also) as names:
        with get_client(sync_client=True) as client:
            client.update_flow_run(context.flow_run.id, tags=sorted(names))
        yield
