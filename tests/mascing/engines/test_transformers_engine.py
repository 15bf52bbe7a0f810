"""The engine that runs the model: a mask for all, a mask for each row, and the replies of `complete`."""

import torch

from mascing.engines.engine import Turn
from mascing.engines.generation import complete, prompts_of
from mascing.engines.transformers_engine import TransformersEngine
from mascing.masks.mask import Mask
from mascing.models.loading import Loaded
from mascing.routers.spec import inspect_routers
from mascing.schemas.config import GenerationConfig
from tests.mascing import olmoe_folder

GENERATION = GenerationConfig(max_new_tokens=5, batch_size=4)
CONVERSATIONS = [olmoe_folder.conversation(f"c{number}", "word " * (1 + number) + "?") for number in range(6)]


def test_masks_are_mixed_per_row_in_one_batch() -> None:
    model = olmoe_folder.model(eos_token_id=2)
    loaded = Loaded(model, olmoe_folder.tokenizer())
    spec = inspect_routers(model)
    masks = [Mask.from_bias(3 * torch.randn(3, 8, generator=torch.Generator().manual_seed(s)), spec) for s in (0, 1)]
    choices = [None, *masks]
    prompts = prompts_of(loaded, CONVERSATIONS, GENERATION)
    alone = [complete(loaded, prompts, mask, GENERATION) for mask in choices]
    turns = [Turn(row, choices[number % 3]) for number, row in enumerate(CONVERSATIONS)]
    batches: list[int] = []
    engine = TransformersEngine(loaded)
    mixed = dict(engine.replies(turns, GENERATION, lambda tokens, padding: batches.append(tokens)))
    assert [mixed[number].reply for number in range(6)] == [alone[number % 3][number] for number in range(6)]
    assert len(batches) == 2
    assert alone[0] != alone[1] != alone[2]
    assert complete(loaded, prompts, None, GENERATION) == alone[0]  # nothing is left in force


def test_one_mask_for_all_gives_the_replies_of_complete() -> None:
    loaded = Loaded(olmoe_folder.model(eos_token_id=2), olmoe_folder.tokenizer())
    mask = Mask.from_bias(torch.full((3, 8), 2.0), inspect_routers(loaded.model))
    expected = complete(loaded, prompts_of(loaded, CONVERSATIONS, GENERATION), mask, GENERATION)
    replies = dict(TransformersEngine(loaded).replies([Turn(row, mask) for row in CONVERSATIONS], GENERATION))
    assert [replies[number].reply for number in range(6)] == expected
    assert dict(TransformersEngine(loaded).replies([], GENERATION)) == {}
