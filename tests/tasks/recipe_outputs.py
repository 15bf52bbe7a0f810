"""The output of every stage on a fixed tiny run, in a form that other processors reproduce.

``python -m tests.tasks.recipe_outputs`` rewrites recipe_outputs.json after the version of a recipe was raised.
Texts, counts and selections are hashed. Floating-point results differ between processors in their last bits, so each
array of them is summarised by three numbers, which are compared within a tolerance.
"""

import hashlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from safetensors.numpy import load

from mascing.circuits.methods import METHODS
from mascing.judges.table import JUDGES
from mascing.schemas.collection import CollectionConfig
from mascing.schemas.config import (
    AuditConfig,
    BehaviourConfig,
    GatesConfig,
    GenerationConfig,
    ModelConfig,
    RobustnessConfig,
    RunConfig,
    SurrogateConfig,
)
from mascing.schemas.facts import TestbedFacts
from mascing.schemas.finished import Harvested, MaskStored, Optimised, Prepared, TestbedBuilt, Trained
from mascing.schemas.manifest import Manifest
from mascing.schemas.settings.judge_settings import ExactJudge
from mascing.schemas.settings.method_settings import (
    ActiveConfig,
    ConsensusConfig,
    GradientConfig,
    MascingConfig,
    MethodsConfig,
    RefinedConfig,
    SteerMoEConfig,
)
from mascing.schemas.tables import SELECTED
from mascing.storage.manifests import StageOutput, read_manifest, read_shard
from mascing.storage.object_storage import Storage
from mascing.storage.sealing import SEAL
from mascing.tasks.collecting.collect import collect
from mascing.tasks.collecting.take_in import intake
from mascing.tasks.evaluate import evaluate
from mascing.tasks.gate import gate
from mascing.tasks.harvest import harvest
from mascing.tasks.labelling import label
from mascing.tasks.optimise import optimise
from mascing.tasks.prepare import prepare
from mascing.tasks.publish import publish
from mascing.tasks.robustness import robustness
from mascing.tasks.selecting import select
from mascing.tasks.suppress import audit
from mascing.tasks.train import train
from mascing.testbeds.planted import build
from tests.mascing import olmoe_folder
from tests.tasks.here_pool import HerePool

STORED = Path(__file__).with_suffix(".json")
_GROUPS = 96
_REPLIES = ("no", "yes", "maybe", "a key", "the pot", "it is blue", "under it", "tomorrow")
_IDENTITIES = re.compile(
    rf"/(checkpoint|fingerprint|model_fingerprint|mask_digest|model|masks|{re.escape(SEAL)})$|/data/"
)
_SETS = ("target", "target", "utility/benign", "protected/prohibited")


def stored() -> dict[str, Any]:
    """The outputs stored in this repository, by stage."""
    outputs: dict[str, Any] = json.loads(STORED.read_text())
    return outputs


def outputs(folder: Path) -> dict[str, Any]:
    """Run every stage; returns for each its version, a hash and some numbers."""
    storage = Storage.open(str(folder / "storage"))
    config = config_in(folder)
    manifests = [_testbed(storage), *run(storage, config), *collection(storage, config)]
    return {manifest.stage: _output(storage, manifest) for manifest in manifests}


def _testbed(storage: Storage) -> Manifest:
    """The testbed after two steps of its training."""
    with TemporaryDirectory() as folder:
        build(0, folder, steps=2)
        output = StageOutput(storage, TestbedBuilt, "tiny", "0" * 16)
        files = [path for path in sorted(Path(folder).iterdir()) if path.suffix in (".jsonl", ".safetensors")]
        shards = [output.put(path.name, path.read_bytes(), rows=0) for path in files]
        return output.commit(shards, TestbedFacts(), rows_in=0)


def run(storage: Storage, config: RunConfig) -> Iterator[Manifest]:
    """The manifests of all stages of a run and an audit."""
    pool = HerePool()
    prepared = prepare(storage, config).manifest
    labelled = label(storage, config, prepared, pool=pool).manifest
    harvested = harvest(storage, config, labelled, pool=pool).manifest
    trained = train(storage, config, labelled, harvested, pool=pool).manifest
    optimised = optimise(storage, config, labelled, harvested, trained, pool=pool).manifest
    selected = select(storage, config, labelled, harvested, optimised, pool=pool).manifest
    evaluated = evaluate(storage, config, labelled, selected, pool=pool).manifest
    tested = robustness(storage, config, prepared, labelled, selected, evaluated, pool=pool).manifest
    gated = gate(storage, config, prepared, trained, selected, evaluated, tested).manifest
    published = publish(storage, config, prepared, harvested, selected, gated).manifest
    assert published.facts.masks is not None
    stored_mask = read_manifest(storage, published.facts.masks, MaskStored)
    audited = audit(storage, config, labelled, harvested, pool=pool).manifest
    yield from (
        prepared, labelled, harvested, trained, optimised, selected, evaluated, tested, gated, published, stored_mask,
        audited,
    )  # fmt: skip


def collection(storage: Storage, run: RunConfig) -> Iterator[Manifest]:
    """The conversations of a run without their labels."""
    config = CollectionConfig(
        model=run.model, conversations=str(run.behaviour.conversations), max_characters=100, max_quarantined=1
    )
    taken = intake(storage, config).manifest
    yield from (taken, collect(storage, config, taken, pool=HerePool()).manifest)


def config_in(folder: Path) -> RunConfig:
    """A randomly initialised model and synthetic questions; its answers are meaningless but reproducible."""
    model = olmoe_folder.save(folder / "model")
    rows = [_row(group, place) for group in range(_GROUPS) for place in range(len(_SETS))]
    over_long = {**_row(0, 0), "id": "long", "messages": [{"role": "user", "content": "why? " * 40}]}
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, "no object", over_long]))
    letters: Any = {"kind": "refusal", "phrases": list("abcdefghijklmnopqrstuvwxyz0123456789")}
    coin: Any = {"kind": "tests.tasks.coin_judge:coin"}
    config = RunConfig(
        model=ModelConfig(path=str(model)),
        behaviour=BehaviourConfig(
            name="policy",
            conversations=str(folder / "rows.jsonl"),
            target=coin,
            utility=ExactJudge(),
            protected=letters,
            max_characters=100,
        ),
        max_quarantined=1,  # no judge reads a random model's replies as what they are said to be
        surrogate=SurrogateConfig(members=1, epochs=6, allow_confounded=True),
        methods=MethodsConfig.model_validate(_again()).model_copy(
            update=dict(
                mascing=MascingConfig(spans=("question+prompt",), lambdas=(0.0, 1e-3), alphas=(1.0,)),
                consensus=ConsensusConfig(shares=(0.2,), alphas=(1.0,)),
                steermoe=SteerMoEConfig(spans=("question+prompt", "reply"), n_activated=(2,), n_deactivated=(2,)),
                gradient=GradientConfig(steps=12, batch_size=8, l1=(1e-3,), alphas=(1.0,)),
                refined=RefinedConfig(steps=8, batch_size=8, l1=(1e-3,), alphas=(1.0,)),
                active=ActiveConfig(budget=64, rounds=1, members=1, steps=3, l1=(0.02,), alphas=(1.0,)),
            )
        ),
        generation=GenerationConfig(max_new_tokens=3),
        # Only conditions whose replies AVX2, AVX-512 and plain processors agree about: sampled ones turn on last bits.
        robustness=RobustnessConfig(conversations=8, temperatures=(), earlier_exchanges=0, uplift_share=1),
        audit=AuditConfig(n_suppressed=(1, 4), random_draws=2),
    )
    # Gates that every mask passes, so that every stage has work to do; no configuration file could set them.
    open_gates = GatesConfig().model_copy(
        update={
            "min_uplift": -1,
            "max_utility_loss": 1,
            "protected_tolerance": 1,
            "min_label_kappa": -1,
            "max_degenerate": 1,
        }
    )
    return config.model_copy(update={"gates": open_gates})


def _again() -> dict[str, Any]:
    """Built-in methods once more, with the settings that the first ones leave out."""
    exact = {"mode": "exact", "search_epochs": 2, "spans": ["question+prompt"], "lambdas": [1e-3], "alphas": [1]}
    by_group = {"pairs": "group", "scores": ["odds_ratio"], "n_activated": [2], "n_deactivated": [0]}
    return {"exact": {"kind": "mascing", **exact}, "by-group": {"kind": "steermoe", **by_group}}


def _row(group: int, place: int) -> dict[str, Any]:
    return {
        "id": f"g{group:02d}-{place}",
        "group_id": f"g{group:02d}",
        "set": _SETS[place],
        "label": ("positive", "negative")[place] if place < 2 else None,
        "messages": [{"role": "user", "content": f"what of garden {group:02d}, bench {place}?"}],
        "wanted": _REPLIES[group % len(_REPLIES)],
        "unwanted": _REPLIES[(group // 2 + 3) % len(_REPLIES)],
        "paraphrase": f"bench {place} of garden {group:02d}?",
    }


def _output(storage: Storage, manifest: Manifest) -> dict[str, Any]:
    """The version, hash and numbers of a stage's output; prefixes and shard hashes are left out as they may differ."""
    exact: dict[str, Any] = {}
    numbers: dict[str, list[float]] = {}
    for shard in manifest.shards:
        exact[shard.name] = shard.rows
        for name, value in _values(shard.name, read_shard(storage, manifest, shard.name)):
            _record(f"{shard.name}/{name}", value, exact, numbers)
    for name, fact in manifest.facts.model_dump(mode="json").items():
        _record_json(f"facts/{name}", fact, exact, numbers)
    digest = hashlib.sha256(json.dumps(exact, sort_keys=True).encode()).hexdigest()
    return {"version": _version(manifest), "exact": digest, "numbers": numbers}


def _version(manifest: Manifest) -> Any:
    """The version of the stage's recipe, and those of the methods and judges that it uses."""
    versions: dict[str, Any] = {"recipe": manifest.facts.version}
    if isinstance(manifest, Optimised):
        versions |= {name: method.version for name, method in METHODS.items()}
    if not isinstance(manifest, Prepared | Harvested | Trained | TestbedBuilt):
        versions |= {name: kind.version for name, kind in JUDGES.items()}
    return versions


def _values(file: str, data: bytes) -> Iterator[tuple[str, Any]]:
    """The columns of a table, or the tensors of a safetensors file."""
    if file.endswith(".parquet"):
        table = pq.read_table(io.BytesIO(data))
        for name in table.column_names:
            values = table.column(name).to_pylist()
            if name == SELECTED:
                yield name, [list(ids) for ids in values]  # one byte each: the models here have few experts
            else:
                yield name, np.frombuffer(b"".join(values), np.float16) if name.startswith("z_") else values
    elif file.endswith(".safetensors"):
        for name, tensor in sorted(load(data).items()):
            yield name, json.loads(tensor.tobytes()) if name == "described" else tensor
    elif file.endswith(".jsonl"):
        yield "lines", data.decode().splitlines()
    elif file.endswith(".json"):
        yield "object", json.loads(data)


def _record(name: str, value: Any, exact: dict[str, Any], numbers: dict[str, list[float]]) -> None:
    if isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.floating):
        flat = value.astype(np.float64).ravel()
        weights = np.cos(np.arange(flat.size))  # tells a permutation of the values
        numbers[name] = [
            float(flat.size),
            float(flat.mean()),
            float(np.sqrt((flat**2).mean())),
            float((weights * flat).mean()),
        ]
    else:
        _record_json(name, value.tolist() if isinstance(value, np.ndarray) else value, exact, numbers)


def _record_json(name: str, value: Any, exact: dict[str, Any], numbers: dict[str, list[float]]) -> None:
    """Record floats as numbers and everything else as exact, except identifiers of the model or another output.

    A seal is one too: it is the digest of a file whose floating-point numbers differ in their last bits.
    """
    if isinstance(value, dict):
        for key, part in value.items():
            _record_json(f"{name}/{key}", part, exact, numbers)
    elif isinstance(value, list):
        for number, part in enumerate(value):
            _record_json(f"{name}/{number}", part, exact, numbers)
    elif isinstance(value, float):
        numbers[name] = [value]
    elif not _IDENTITIES.search(name):
        exact[name] = value


if __name__ == "__main__":
    with TemporaryDirectory() as place:
        STORED.write_text(json.dumps(outputs(Path(place)), indent=1, sort_keys=True) + "\n")
