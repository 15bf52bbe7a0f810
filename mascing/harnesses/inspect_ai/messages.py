"""Inspect's messages as conversations, and replies as its outputs."""

from collections.abc import Sequence
from typing import Any

from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    ContentReasoning,
    ContentText,
    GenerateConfig,
    ModelOutput,
    ModelUsage,
    StopReason,
)
from inspect_ai.tool import ToolInfo
from pydantic import ValidationError

from mascing.conversations.chat import Prompt
from mascing.conversations.reply import Reply
from mascing.errors import ConfigError, DataError
from mascing.schemas.conversation import Conversation

_NOT_DONE = (
    "top_p", "top_k", "best_of", "frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "top_logprobs",
    "prompt_logprobs", "response_schema", "modalities",
)  # fmt: skip


def refuse_unsupported(tools: Sequence[ToolInfo], config: GenerateConfig) -> None:
    """Raise ConfigError for what would be left out of the reply without a word."""
    if tools:
        raise ConfigError(
            f"mascing calls no tools, and the task offers {', '.join(tool.name for tool in tools)}: serve the model "
            "by an engine that does, or take a task without tools"
        )
    given = [name for name in _NOT_DONE if getattr(config, name, None)]
    if (config.num_choices or 1) > 1:
        given.append("num_choices")
    if given:
        raise ConfigError(f"mascing has no {', '.join(given)}: it takes temperature, max_tokens, seed and stop_seqs")


def conversation_of(messages: Sequence[ChatMessage]) -> Conversation:
    """The conversation that the messages are. Raises DataError for roles and contents that mascing does not render."""
    turns = [{"role": message.role, "content": _text(message)} for message in messages]
    try:
        return Conversation.model_validate({"id": "-", "group_id": "-", "messages": turns})
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise DataError(
            f"mascing cannot reply to these messages ({said}): {[turn['role'] for turn in turns]}"
        ) from error


def _text(message: ChatMessage) -> str:
    """The text of a message; an assistant's thought of an earlier turn is left out, as chat templates do."""
    parts = [] if isinstance(message.content, str) else message.content
    others = sorted({part.type for part in parts} - {"text", "reasoning"})
    if others or message.role == "tool":
        raise DataError(f"mascing reads text alone, and a message holds {', '.join(others) or 'the result of a tool'}")
    return str(message.text)


def output_of(
    model: str,
    reply: Reply,
    prompt: Prompt,
    metadata: dict[str, Any],
    *,
    of_model: bool = False,
    marks: Sequence[str] = (),
) -> ModelOutput:
    """The reply as Inspect has it, up to the first of its stop ``marks``; ``of_model``: the context was full."""
    text = reply.text[: min((reply.text.index(mark) for mark in marks if mark in reply.text), default=len(reply.text))]
    content: Any = text
    if reply.thought is not None:
        content = [ContentReasoning(reasoning=reply.thought), ContentText(text=text)]
    reason: StopReason = "stop"
    if reply.cut_off and text == reply.text:
        reason = "model_length" if of_model else "max_tokens"
    asked = len(prompt.token_ids)
    return ModelOutput(
        model=model,
        choices=[
            ChatCompletionChoice(
                message=ChatMessageAssistant(content=content, model=model, source="generate"), stop_reason=reason
            )
        ],
        usage=ModelUsage(input_tokens=asked, output_tokens=reply.tokens, total_tokens=asked + reply.tokens),
        metadata={"mascing": metadata},
    )
