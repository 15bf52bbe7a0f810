"""Write the testbed as an ordinary model folder, with its conversations and true circuits beside it."""

from collections.abc import Callable
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from mascing.testbeds.planted.architectures import MAX_TOKENS
from mascing.testbeds.planted.behaviours import BEHAVIOURS, conversations
from mascing.testbeds.planted.levels import LEVELS
from mascing.testbeds.planted.planting import Planted, train
from mascing.testbeds.planted.tokenizer import build_tokenizer


def build(
    seed: int,
    out_dir: str | Path,
    progress: Callable[[int, int], None] | None = None,
    steps: int | None = None,
    level: int = 1,
) -> None:
    """Train the testbed's model and write everything that a run needs into ``out_dir``.

    Writes the files of the model folder (config, safetensors, tokenizer, chat template), and for both behaviours
    ``conversations-<behaviour>.jsonl`` and ``truth-<behaviour>.safetensors``. The tensor ``bias`` [L, E] of a truth
    file is in units of sigma: +1 on the experts of the wanted reply, -1 on those of the opposite reply, 0 elsewhere.
    The same seed gives the same bytes on the same machine. ``progress`` and ``steps`` are those of ``planting.train``.
    """
    planted = train(LEVELS[level], seed, progress, steps)
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    planted.model.save_pretrained(folder)
    build_tokenizer(LEVELS[level], MAX_TOKENS).save_pretrained(folder)
    for behaviour in BEHAVIOURS:
        lines = [
            conversation.model_dump_json(exclude_none=True, exclude={"contrast", "references", "metadata"})
            for conversation in conversations(behaviour, seed, level)
        ]
        (folder / f"conversations-{behaviour}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        save_file({"bias": _truth(planted, behaviour)}, folder / f"truth-{behaviour}.safetensors")


def _truth(planted: Planted, behaviour: str) -> Tensor:
    defence_LE = planted.circuit.truth_LE
    return defence_LE if behaviour == "jailbreak-defence" else -defence_LE
