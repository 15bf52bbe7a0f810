"""What Prefect's page of a run shows of it at once: its name and its tags."""

from prefect import get_client
from prefect.context import FlowRunContext
from prefect.runtime import flow_run

from mascing.models.checkpoints import model_name
from mascing.schemas.config import RunConfig


def behaviour_on_model() -> str:
    """The name of the run that Prefect is about to start, from the parameter ``config`` of its flow."""
    config: RunConfig = flow_run.parameters["config"]
    return f"{config.behaviour.name} on {model_name(config.model)}"


def tag_run(*names: str) -> None:
    """Add tags to the running flow; those that it has already, for instance from its deployment, stay.

    Its tasks get none: Prefect asks its server for a slot for every tag of a task.
    """
    context = FlowRunContext.get()
    assert context is not None, "only a running flow has tags"
    assert context.flow_run is not None
    with get_client(sync_client=True) as client:
        client.update_flow_run(context.flow_run.id, tags=sorted({*context.flow_run.tags, *names}))
