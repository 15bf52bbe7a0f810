"""The recipe of a router family: a model that transformers does not know, registered or with its code beside it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mascing.masks.mask import Mask
from mascing.models.loading import load
from mascing.routers.families import SCORING
from mascing.routers.spec import inspect_routers
from mascing.schemas.config import ModelConfig
from mascing.steering.steer import steer
from mascing.traces.recording import record
from tests.mascing import olmoe_folder
from tests.recipes.my_package.family import PebbleConfig, PebbleForCausalLM

IDS = torch.randint(3, 300, (2, 5), generator=torch.Generator().manual_seed(0))


def pebble() -> Any:
    torch.manual_seed(0)
    return PebbleForCausalLM(PebbleConfig()).eval()


def saved(folder: Path) -> Path:
    pebble().save_pretrained(folder)
    olmoe_folder.tokenizer().save_pretrained(folder)
    return folder


@torch.no_grad()
def test_it_is_recorded_and_steered(tmp_path: Path) -> None:
    model = load(ModelConfig(path=str(saved(tmp_path)))).model
    spec = inspect_routers(model)
    assert (spec.family, spec.layer_ids, spec.n_experts, spec.top_k) == ("pebble", (0, 1), 4, 2)
    with record(model) as trace:
        plain = model(input_ids=IDS).logits
    assert trace.logits.shape == (2, 5, 2, 4)
    assert torch.equal(trace.selected, trace.logits.topk(2).indices)
    # Force on the experts that no token, or almost none, selected by itself.
    rare = trace.selected.flatten().bincount(minlength=4).argmin()
    bias_LE = torch.zeros(2, 4).index_fill(1, rare[None], 100.0)
    with steer(model, Mask.from_bias(bias_LE, spec)), record(model) as steered:
        changed = model(input_ids=IDS).logits
    assert not torch.equal(changed, plain)
    # The first layer has the same input as before, and the record holds the routers' own logits.
    assert torch.equal(steered.logits[:, :, 0], trace.logits[:, :, 0])
    assert (steered.selected == rare).any(-1).all()
    assert torch.equal(model(input_ids=IDS).logits, plain)


def test_one_line_says_how_it_selects(monkeypatch: pytest.MonkeyPatch) -> None:
    assert inspect_routers(pebble()).scoring == "unlisted"
    monkeypatch.setitem(SCORING, "pebble", "softmax-topk")
    assert inspect_routers(pebble()).scoring == "softmax-topk"


def test_the_class_of_the_router_alone_declares_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model = pebble()
    monkeypatch.setattr(model, "_can_record_outputs", {"router_logits": type(model.layers[0].router)})
    assert inspect_routers(model) == inspect_routers(pebble())


def test_a_process_that_does_not_know_it_runs_the_code_beside_the_weights(tmp_path: Path) -> None:
    """The workers of a run load a model in this way."""
    folder = saved(tmp_path / "model")
    source = Path(sys.modules[PebbleForCausalLM.__module__].__file__ or "").read_text()
    (folder / "family.py").write_text(source)
    settings = PebbleConfig.from_pretrained(folder)
    settings.auto_map = {"AutoConfig": "family.PebbleConfig", "AutoModelForCausalLM": "family.PebbleForCausalLM"}
    settings.save_pretrained(folder)
    code = (
        "from mascing.models.loading import load; from mascing.routers.spec import inspect_routers;"
        "from mascing.schemas.config import ModelConfig;"
        f"print(inspect_routers(load(ModelConfig(path={str(folder)!r}, trust_remote_code=True)).model).fingerprint)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"HF_MODULES_CACHE": str(tmp_path / "modules")},
        check=False,
    )
    assert ran.stdout.split() == [inspect_routers(pebble()).fingerprint], ran.stderr
