import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file
from transformers import Qwen2MoeConfig, Qwen2MoeForCausalLM

from mascing.errors import ModelError
from mascing.models import checkpoints
from mascing.models.checkpoints import pinned
from mascing.models.loading import checkpoint_fingerprint, load
from mascing.schemas.config import ModelConfig
from tests.mascing.olmoe_folder import save, tokenizer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = model(input_ids=torch.arange(5, 15)[None]).logits
    return result


def config(path: object, **changes: Any) -> ModelConfig:
    return ModelConfig(path=str(path), **changes)


def test_a_folder_loads_as_it_was_saved(folder: Path) -> None:
    loaded = load(config(folder))
    weights = load_file(folder / "model.safetensors")
    assert torch.equal(loaded.model.lm_head.weight, weights["lm_head.weight"])
    assert not loaded.model.training
    assert loaded.tokenizer.chat_template


def test_tied_embeddings_are_not_missing_weights(tmp_path: Path) -> None:
    model = load(config(save(tmp_path, tie_word_embeddings=True))).model
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    assert torch.equal(model.lm_head.weight, model.model.embed_tokens.weight)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_dtype_is_what_the_config_says(folder: Path, dtype: Any) -> None:
    assert load(config(folder, dtype=dtype)).model.dtype == getattr(torch, dtype)


def test_auto_dtype_is_the_checkpoints(copy: Path) -> None:
    load(config(copy, dtype="bfloat16")).model.save_pretrained(copy)
    assert load(config(copy)).model.dtype == torch.bfloat16


def test_attention_implementation_is_what_the_config_says(folder: Path) -> None:
    assert load(config(folder, attn_implementation="eager")).model.config._attn_implementation == "eager"


def test_a_storage_url_loads_like_the_folder(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/bucket/models/tiny", recursive=True)
    try:
        url = config("memory://bucket/models/tiny")
        assert torch.equal(logits(load(url).model), logits(load(config(folder)).model))
        assert checkpoint_fingerprint(url) == checkpoint_fingerprint(config(folder))
    finally:
        memory.rm("/bucket", recursive=True)


def test_a_hub_id_loads_from_its_revision(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = tmp_path / "models--someone--tiny"
    shutil.copytree(folder, stored / "snapshots" / COMMIT)
    (stored / "refs").mkdir()
    (stored / "refs" / "v2").write_text(COMMIT)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    hub = config("someone/tiny", revision="v2")
    assert pinned(hub).revision == COMMIT
    assert torch.equal(logits(load(hub).model), logits(load(config(folder)).model))
    assert checkpoint_fingerprint(hub) == COMMIT
    with pytest.raises(
        ModelError, match="someone/tiny at revision v3 is no folder here, and the hub cannot be reached"
    ):
        load(config("someone/tiny", revision="v3"))
    with pytest.raises(ModelError, match="someone/other is no folder here"):
        checkpoint_fingerprint(config("someone/other"))


def test_a_silent_hub_is_asked_once_in_a_while_and_its_client_tells_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    asked: list[bool] = []

    def silent(*_: str, local_files_only: bool, **__: object) -> str:
        asked.append(local_files_only)
        huggingface_hub.logging.get_logger("huggingface_hub.utils._http").warning("Retrying in 8s [Retry 5/5].")
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", silent)
    monkeypatch.setattr(checkpoints, "_SILENCE", checkpoints._Silence())
    said = huggingface_hub.logging.get_verbosity()
    for path in ("org/one", "org/other"):
        with pytest.raises(ModelError, match=f"{path} is no folder here, and the hub cannot be reached for it: go on"):
            pinned(config(path))
    assert asked == [False, True]
    assert "Retrying" not in capfd.readouterr().err
    assert huggingface_hub.logging.get_verbosity() == said
    monkeypatch.setattr(checkpoints._Silence, "_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "_SILENCE", checkpoints._Silence())
    for _ in range(2):
        with pytest.raises(ModelError):
            pinned(config("org/one"))
    assert asked == [False, True, False, False]


def test_a_pinned_revision_stays_when_its_name_moves_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = tmp_path / "models--someone--tiny"
    shutil.copytree(folder, stored / "snapshots" / COMMIT)
    (stored / "refs").mkdir()
    (stored / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    before = pinned(config("someone/tiny"))
    later = "b" * 40
    shutil.copytree(folder, stored / "snapshots" / later)
    (stored / "refs" / "main").write_text(later)
    assert checkpoint_fingerprint(config("someone/tiny")) == later
    assert checkpoint_fingerprint(before) == before.revision == COMMIT
    (stored / "snapshots" / later / "model.safetensors").unlink()
    load(before)


def test_a_folder_has_no_revision_to_pin(folder: Path) -> None:
    assert pinned(config(folder)) == config(folder)


def test_the_fingerprint_follows_contents_not_places(folder: Path, copy: Path) -> None:
    before = checkpoint_fingerprint(config(folder))
    assert checkpoint_fingerprint(config(copy)) == before
    (copy / "notes.md").write_text("not read by transformers")
    assert checkpoint_fingerprint(config(copy)) == before
    weights = load_file(copy / "model.safetensors")
    weights["lm_head.weight"][0, 0] += 1
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert checkpoint_fingerprint(config(copy)) != before


def edit_settings(**changes: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        settings = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(settings | changes))

    return edit


def remove(*names: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return edit


def write(name: str, text: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        (folder / name).write_text(text)

    return edit


def cut_weights(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def lose_a_tensor(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.gate.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def index_a_missing_shard(folder: Path) -> None:
    index = {"metadata": {}, "weight_map": {"lm_head.weight": "model-00001-of-00002.safetensors"}}
    write("model.safetensors.index.json", json.dumps(index))(folder)


def only_pickled_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove("config.json"), "has no config.json"),
        (write("adapter_config.json", "{}"), "is an adapter: merge it into its base model"),
        (write("config.json", '{"model_type": "olm'), "config.json cannot be read"),
        (write("config.json", "[]"), "config.json has no model_type"),
        (edit_settings(model_type="bert"), "do not fit its config.json|cannot be loaded"),
        (edit_settings(model_type="invented"), "no causal language model of type 'invented'"),
        (
            edit_settings(model_type="invented", auto_map={"AutoModelForCausalLM": "code.Model"}),
            "runs only with code in the checkpoint.*trust_remote_code: true",
        ),
        (edit_settings(hidden_size="wide"), "cannot be loaded.*hidden_size"),
        (edit_settings(hidden_size=64), "do not fit its config.json|cannot be loaded"),
        (remove("model.safetensors"), "lacks weights: model.safetensors"),
        (only_pickled_weights, "run code on load: convert to safetensors"),
        (index_a_missing_shard, "lacks weights: model-00001-of-00002.safetensors"),
        (write("model.safetensors.index.json", "{"), "index.json cannot be read"),
        (cut_weights, "cannot be loaded"),
        (write("model.safetensors", ""), "cannot be loaded"),
        (lose_a_tensor, "1 parameters are missing or of another shape, first model.layers.1.mlp.gate.weight"),
        (remove("tokenizer.json", "tokenizer_config.json"), "has no tokenizer"),
        (write("tokenizer.json", "{"), "the tokenizer in .* cannot be loaded"),
        (remove("chat_template.jinja"), "no chat template"),
    ],
)
def test_an_unreadable_folder_is_refused_in_one_line(copy: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(copy)
    with pytest.raises(ModelError, match=message) as refusal:
        load(config(copy))
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 400 + 2 * len(str(copy))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/no/such/folder", "model folder /no/such/folder does not exist"),
        ("./no-such-folder", "model folder ./no-such-folder does not exist"),
        ("memory://no/such/model", "no model under memory://no/such/model"),
        ("nosuch://bucket/model", "cannot read the model folder nosuch://bucket/model"),
    ],
)
def test_a_place_without_a_model_is_refused(path: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load(config(path))
    with pytest.raises(ModelError, match=message):
        checkpoint_fingerprint(config(path))


@pytest.mark.parametrize("device", ["cuda:99", "warp-drive"])
def test_a_device_that_is_not_here_is_refused(folder: Path, device: str) -> None:
    with pytest.raises(ModelError, match=f"model.device '{device}' is not usable here"):
        load(config(folder, device=device))


def test_layers_can_be_spread_over_what_devices_there_are(folder: Path) -> None:
    spread = load(config(folder, device="auto")).model
    assert torch.equal(logits(spread), logits(load(config(folder)).model))


def test_an_unknown_attention_implementation_is_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match="cannot be loaded"):
        load(config(folder, attn_implementation="telepathy"))


OWN_CODE = """
from transformers import OlmoeConfig, OlmoeForCausalLM
class OwnConfig(OlmoeConfig):
    model_type = "{kind}"
class OwnModel(OlmoeForCausalLM):
    config_class = OwnConfig
"""


def with_own_code(folder: Path, kind: str) -> None:
    write("own_code.py", OWN_CODE.format(kind=kind))(folder)
    auto_map = {"AutoConfig": "own_code.OwnConfig", "AutoModelForCausalLM": "own_code.OwnModel"}
    edit_settings(model_type=kind, auto_map=auto_map)(folder)


def test_own_code_runs_if_trusted_and_needed(copy: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    # Only a native class translates the stored layout of experts into its own.
    save_file(load(config(copy)).model.state_dict(), copy / "model.safetensors", metadata={"format": "pt"})
    with_own_code(copy, "invented")
    assert type(load(config(copy, trust_remote_code=True)).model).__name__ == "OwnModel"


def test_a_native_class_goes_before_trusted_code(copy: Path) -> None:
    with_own_code(copy, "olmoe")
    assert type(load(config(copy, trust_remote_code=True)).model).__name__ == "OlmoeForCausalLM"


def test_deepseek_v1_loads_natively(tmp_path: Path) -> None:
    plain: Any = Qwen2MoeForCausalLM
    sizes: dict[str, Any] = {
        "vocab_size": 300,
        "hidden_size": 32,
        "intermediate_size": 24,
        "moe_intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "num_experts_per_tok": 2,
    }
    experts: dict[str, Any] = {"num_experts": 4, "shared_expert_intermediate_size": 32, "mlp_only_layers": [0]}
    torch.manual_seed(0)
    native = plain(Qwen2MoeConfig(**sizes, **experts, qkv_bias=False, initializer_range=0.2)).eval()
    torch.nn.init.zeros_(native.model.layers[1].mlp.shared_expert_gate.weight)
    native.save_pretrained(tmp_path)
    stored = {}
    for name, weight in load_file(tmp_path / "model.safetensors").items():
        if "shared_expert_gate" not in name:
            half = 0.5 if "shared_expert.down_proj" in name else 1.0
            stored[name.replace("shared_expert.", "shared_experts.")] = weight * half
    save_file(stored, tmp_path / "model.safetensors", metadata={"format": "pt"})
    own: dict[str, Any] = {"model_type": "deepseek", "n_routed_experts": 4, "n_shared_experts": 2}
    auto_map = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}
    settings = own | sizes | {"first_k_dense_replace": 1, "rms_norm_eps": 1e-6, "auto_map": auto_map}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    tokenizer().save_pretrained(tmp_path)
    loaded = load(config(tmp_path))
    assert torch.equal(logits(loaded.model), logits(native))
    del settings["n_shared_experts"]
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError, match="cannot be loaded: KeyError 'n_shared_experts'"):
        load(config(tmp_path))
