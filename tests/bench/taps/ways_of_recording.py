"""The references for recording: the decoder alone, and the way published scripts record."""

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mascing.conversations.chat import Prompt
from mascing.models.batching import length_sorted_batches, right_padded
from mascing.routers.spec import inspect_routers
from mascing.traces.batch_recording import record_prompts
from mascing.traces.shards import encode
from mascing.traces.trace_set import PROMPT, QUESTION, SampleTrace

BATCH_TOKENS = 4096
ROWS_PER_SHARD = 64
USUAL_BATCH = 16


def plain_forward(model: Any, prompts: Sequence[Prompt]) -> None:
    """Run the decoder on the batches that recording makes, without recording."""
    decoder = model.get_decoder()
    with torch.no_grad():
        for batch in length_sorted_batches([len(prompt.token_ids) for prompt in prompts], BATCH_TOKENS):
            ids_BT = right_padded([prompts[index].token_ids for index in batch])
            decoder(input_ids=ids_BT.to(model.device), use_cache=False)


def recorded_forward(model: Any, prompts: Sequence[Prompt]) -> None:
    """Run the same batches and store the routing of every token on the host."""
    record_prompts(model, prompts, BATCH_TOKENS)


def shards(model: Any, prompts: Sequence[Prompt], folder: Path) -> None:
    """Harvest to Parquet files, shard after shard."""
    spec = inspect_routers(model)
    for start in range(0, len(prompts), ROWS_PER_SHARD):
        rows = prompts[start : start + ROWS_PER_SHARD]
        recorded = record_prompts(model, rows, BATCH_TOKENS)
        samples = [
            SampleTrace(prompt.conversation_id, prompt.conversation_id, index % 2, z_TLE, _regions(prompt), selected)
            for index, (prompt, (z_TLE, selected)) in enumerate(zip(rows, recorded, strict=True))
        ]
        (folder / f"traces-{start:05d}.parquet").write_bytes(encode(samples, spec))


def usual(model: Any, prompts: Sequence[Prompt], file: Path) -> None:
    """Record the usual way: batches in input order, left padding, the whole causal LM, one pickle at the end."""
    recorded = []
    with torch.no_grad():
        for start in range(0, len(prompts), USUAL_BATCH):
            rows = [prompt.token_ids for prompt in prompts[start : start + USUAL_BATCH]]
            length = max(len(row) for row in rows)
            ids_BT = torch.tensor([[0] * (length - len(row)) + list(row) for row in rows], device=model.device)
            mask_BT = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows], device=model.device)
            output = model(input_ids=ids_BT, attention_mask=mask_BT, output_router_logits=True)
            z_BTLE = torch.stack([layer.view(len(rows), length, -1) for layer in output.router_logits], 2)
            for row, z_TLE in zip(rows, z_BTLE, strict=True):
                recorded.append(z_TLE[length - len(row) :].half().cpu().numpy())
    with file.open("wb") as out:
        pickle.dump(recorded, out)


def _regions(prompt: Prompt) -> torch.Tensor:
    border, end = prompt.prompt
    return torch.tensor([QUESTION] * border + [PROMPT] * (end - border), dtype=torch.uint8)
