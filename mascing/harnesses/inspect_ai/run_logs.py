"""The judged replies of a finished run as logs of Inspect: one log for each method, and one for the unsteered model."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from inspect_ai.log import (
    EvalConfig,
    EvalDataset,
    EvalLog,
    EvalMetric,
    EvalResults,
    EvalSample,
    EvalScore,
    EvalSpec,
    EvalStats,
    write_eval_log,
)
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    ContentReasoning,
    ContentText,
    ModelOutput,
    StopReason,
)
from inspect_ai.scorer import Score

from mascing.errors import DataError
from mascing.runs.finished_run import read_inputs, stages_at
from mascing.runs.readers import conversations_of, selected_of, verdicts_of
from mascing.runs.run_folder import StoredRun
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation, Message
from mascing.statistics import rate
from mascing.storage.object_storage import Storage

SCORE = "verdict"
"""The name of the score: `hit`, `miss` or `unscored`."""

_MESSAGES = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}


def write_logs(storage: Storage, run: StoredRun, folder: str) -> list[str]:
    """Write the logs of a run into ``folder``, a path or URL, and return where they are.

    The samples are the conversations of the test split with the method's replies and their verdicts. Raises DataError
    if the run has judged nothing on the test split, as an audit.
    """
    if run.is_audit:
        raise DataError(f"{run.folder.name} is an audit, which keeps rates and no replies: name a run")
    inputs = read_inputs(storage, run.folder)
    stages = stages_at(storage, inputs.stages)
    if stages.evaluate is None or stages.label is None:
        raise DataError(f"{run.folder.name} judged nothing on the test split: there is nothing to write to a log")
    conversations = conversations_of(storage, stages.label, "test").by_id()
    selected = selected_of(storage, stages.select) if stages.select is not None else {}
    written = []
    for method, verdicts in verdicts_of(storage, stages.evaluate).items():
        digest = selected[method].mask.digest if method in selected else None
        log = _log(inputs.run_config, run, method, digest, verdicts.to_pylist(), conversations)
        location = f"{folder.rstrip('/')}/{_file(run, method)}"
        write_eval_log(log, location)
        written.append(location)
    return written


def _file(run: StoredRun, method: str) -> str:
    """A name of the form that Inspect sorts by: time, task, id."""
    return f"{run.written.astimezone(UTC):%Y-%m-%dT%H-%M-%S}+00-00_{method}_{_id(run, method)}.eval"


def _id(run: StoredRun, method: str) -> str:
    return sha256(f"{run.folder.name} {method}".encode()).hexdigest()[:22]


def _log(
    config: RunConfig,
    run: StoredRun,
    method: str,
    digest: str | None,
    rows: Sequence[Mapping[str, Any]],
    conversations: Mapping[str, Conversation],
) -> EvalLog:
    model = f"mascing/{config.model.path}"
    samples = [_sample(row, conversations[row["conversation_id"]], model, digest) for row in rows]
    return EvalLog(
        status="success",
        eval=_spec(config, run, method, digest, [str(sample.id) for sample in samples]),
        results=EvalResults(total_samples=len(samples), completed_samples=len(samples), scores=[_rates(config, rows)]),
        stats=EvalStats(started_at=_time(run.written), completed_at=_time(run.written)),
        samples=samples,
    )


def _spec(config: RunConfig, run: StoredRun, method: str, digest: str | None, ids: Sequence[str]) -> EvalSpec:
    name = _id(run, method)
    facts = {"run": run.folder.name, "method": method, "mask_digest": digest}
    return EvalSpec(
        eval_id=name,
        run_id=name,
        task_id=name,
        created=_time(run.written),
        task=f"{config.behaviour.name}: {method}",
        dataset=EvalDataset(
            name=config.behaviour.name,
            location=config.behaviour.origin,
            samples=len(ids),
            sample_ids=list(ids),
            shuffled=False,
        ),
        model=f"mascing/{config.model.path}",
        model_args={"mask_digest": digest},
        config=EvalConfig(epochs=1),
        metadata={"mascing": facts},
    )


def _rates(config: RunConfig, rows: Iterable[Mapping[str, Any]]) -> EvalScore:
    """The share of hits in each set, with its interval."""
    by_set: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_set.setdefault(row["set"], []).append(row)
    metrics = {}
    for name, of_set in sorted(by_set.items()):
        share = rate([row["outcome"] for row in of_set], [row["group_id"] for row in of_set])
        metrics[name] = EvalMetric(name=name, value=share.value, metadata=share.model_dump())
    judges = {name: config.behaviour.judge_of(name).kind for name in sorted(by_set)}
    return EvalScore(name=SCORE, scorer=SCORE, metrics=metrics, metadata={"judges": judges})


def _sample(row: Mapping[str, Any], conversation: Conversation, model: str, digest: str | None) -> EvalSample:
    # Ids of our own, so that the same run gives the same log.
    name = conversation.id
    asked = [_message(message, f"{name}-{number}") for number, message in enumerate(conversation.messages)]
    said = ChatMessageAssistant(id=f"{name}-reply", content=_content(row), model=model, source="generate")
    reason: StopReason = "max_tokens" if row["cut_off"] else "stop"
    method = row["method"]
    return EvalSample(
        id=row["conversation_id"],
        uuid=f"{method}-{name}",
        epoch=1,
        input=asked,
        target=list(conversation.references),
        messages=[*asked, said],
        output=ModelOutput(model=model, choices=[ChatCompletionChoice(message=said, stop_reason=reason)]),
        scores={SCORE: _score(row)},
        metadata={
            "set": row["set"],
            "group_id": row["group_id"],
            "method": method,
            "mask_digest": digest,
            **conversation.metadata,
        },
    )


def _score(row: Mapping[str, Any]) -> Score:
    """The verdict with what its judge said and took in USD, where there is any; earlier versions have no columns."""
    said = {name: row[name] for name in ("raw", "cost") if row.get(name) is not None}
    reason = f"{row['reason']}\n\n{said['raw']}" if "raw" in said else row["reason"]
    return Score(value=row["outcome"], answer=row["reply"], explanation=reason, metadata=said or None)


def _message(message: Message, name: str) -> ChatMessage:
    return _MESSAGES[message.role](id=name, content=message.content)


def _content(row: Mapping[str, Any]) -> Any:
    if row["thought"] is None:
        return row["reply"]
    return [ContentReasoning(reasoning=row["thought"]), ContentText(text=row["reply"])]


def _time(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="seconds")
