"""The label stage on a tiny model with meaningless replies, which a coin judges."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mascing.conversations.reply import Reply
from mascing.conversations.splits import SPLITS
from mascing.engines.generation import complete
from mascing.errors import DataError
from mascing.evidence.sufficiency import lacking
from mascing.masks.mask import Mask
from mascing.progress import Event, heard
from mascing.runs.readers import contrast_of, conversations_of, in_contrast, unsteered_of
from mascing.schemas.config import (
    AuditConfig,
    BehaviourConfig,
    GatesConfig,
    GenerationConfig,
    LabelConfig,
    MatchingConfig,
    ModelConfig,
    RobustnessConfig,
    RunConfig,
    SelectionConfig,
    SplitConfig,
)
from mascing.schemas.conversation import Conversation, Split
from mascing.schemas.finished import Labelled
from mascing.schemas.settings.method_settings import MethodsConfig, SteerMoEConfig
from mascing.storage import parquet
from mascing.storage.manifests import read_shard
from mascing.storage.object_storage import Storage
from mascing.tasks.evaluate import evaluate
from mascing.tasks.harvest import harvest
from mascing.tasks.labelling import label
from mascing.tasks.optimise import optimise
from mascing.tasks.prepare import prepare
from mascing.tasks.robustness import robustness
from mascing.tasks.selecting import select
from mascing.tasks.suppress import audit
from mascing.tasks.train import train
from tests.mascing import olmoe_folder
from tests.tasks.here_pool import HerePool
from tests.tasks.replying.completing import replies_by

COIN: Any = {"kind": "tests.tasks.coin_judge:coin"}
_GATES = ("min_uplift", "max_utility_loss", "protected_tolerance", "min_label_kappa", "min_baseline", "max_degenerate")
LEARNED: tuple[Split, ...] = ("train", "dev")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return olmoe_folder.save(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage.open(str(tmp_path / "storage"))


def chats(**fields: Any) -> list[Conversation]:
    """Conversations alike in form, two of each group, half of them of a utility set."""
    return [
        olmoe_folder.conversation(f"c{number:02d}", f"what of bench {number:02d}?", label=None).model_copy(
            update={"group_id": f"g{number // 2}", "set": "utility/benches" if number % 4 == 3 else "target", **fields}
        )
        for number in range(80)
    ]


def config_for(model: Path, folder: Path, rows: Sequence[Conversation], **changes: Any) -> RunConfig:
    (folder / "c.jsonl").write_text("".join(f"{row.model_dump_json(exclude_defaults=True)}\n" for row in rows))
    behaviour = {"matching": MatchingConfig(on=("turns",)), **changes.pop("behaviour", {})}
    return RunConfig(
        model=ModelConfig(path=str(model)),
        behaviour=BehaviourConfig(
            name="b",
            conversations=str(folder / "c.jsonl"),
            target=COIN,
            utility=COIN,
            protected=COIN,
            **behaviour,
        ),
        splits=SplitConfig(train=0.4, dev=0.3, test=0.3),
        generation=GenerationConfig(max_new_tokens=3),
        max_quarantined=1,  # a coin reads no reply as what it is said to be
        methods=MethodsConfig(
            mascing=None,
            consensus=None,
            steermoe=SteerMoEConfig(n_activated=(1,), n_deactivated=(1,)),
            gradient=None,
            refined=None,
            active=None,
        ),
        **changes,
    )


def labelled(storage: Storage, config: RunConfig) -> Labelled:
    return label(storage, config, prepare(storage, config).manifest, pool=HerePool()).manifest


def target(storage: Storage, manifest: Labelled, split: Split) -> list[Conversation]:
    return [row for row in conversations_of(storage, manifest, split) if row.set == "target"]


def test_every_conversation_is_labelled_by_what_the_model_replies_to_it(
    model: Path, tmp_path: Path, storage: Storage
) -> None:
    manifest = labelled(storage, config_for(model, tmp_path, chats()))
    for split in SPLITS:
        said = unsteered_of(storage, manifest, split)
        rows = conversations_of(storage, manifest, split)
        assert said.keys() == {row.id for row in rows}
        for row in rows:
            reply, hit = said[row.id]["reply"], said[row.id]["outcome"] == "hit"
            if row.set == "target":
                assert (row.label, row.own_reply) == (("positive" if hit else "negative"), reply)
            else:
                assert (row.label, row.wanted) == (None, reply if hit else None)
        counts = manifest.facts.sets[split]["target"]
        outcomes = [said[row.id]["outcome"] for row in rows if row.set == "target"]
        assert (counts.hits, counts.misses) == (outcomes.count("hit"), outcomes.count("miss"))
    assert manifest.facts.agreement is None
    assert labelled(storage, config_for(model, tmp_path, chats())) == manifest


def test_the_classes_are_matched_where_methods_learn_and_nowhere_else(
    model: Path, tmp_path: Path, storage: Storage
) -> None:
    manifest = labelled(storage, config_for(model, tmp_path, chats()))
    for split in LEARNED:
        contrast = contrast_of(conversations_of(storage, manifest, split))
        counts, pairs = manifest.facts.contrast[split], manifest.facts.matching[split].pairs
        labels = [row.label for row in contrast]
        assert labels.count("positive") == labels.count("negative") == counts.positive == counts.negative == pairs > 0
    assert all(map(in_contrast, target(storage, manifest, "test")))
    free = config_for(model, tmp_path, chats(), behaviour={"matching": None})
    unmatched = labelled(storage, free)
    assert unmatched.facts.matching == {}
    assert all(map(in_contrast, target(storage, unmatched, "train")))


def test_classes_without_a_pair_leave_nothing_to_learn_from_and_the_reason(
    model: Path, tmp_path: Path, storage: Storage
) -> None:
    strangers = [
        row.model_copy(update={"group_id": row.id, "messages": olmoe_folder.conversation("x", row.id).messages})
        for row in chats()
    ]
    strict = MatchingConfig(on=("topic",), topic_similarity=1.0)
    config = config_for(model, tmp_path, strangers, behaviour={"matching": strict})
    events: list[Event] = []
    with heard(events.append):
        manifest = labelled(storage, config)
    assert manifest.facts.contrast["train"].positive == 0
    assert "no positive conversation has a negative one that is alike in topic" in manifest.facts.unmatched["train"]
    assert lacking(manifest.facts, config)[-1].startswith("train: no positive conversation has a negative one")
    assert any(event.text.startswith("train: nothing to learn from: no positive conversation") for event in events)
    with pytest.raises(DataError, match=r"harvest: there is nothing to learn from: .*leave `topic` out of `behaviour"):
        harvest(storage, config, manifest, pool=HerePool())


def test_sampled_replies_give_both_sides_of_one_conversation(model: Path, tmp_path: Path, storage: Storage) -> None:
    config = config_for(model, tmp_path, chats(), label=LabelConfig(samples=4, temperature=2.0))
    manifest = labelled(storage, config)
    assert not any(shard.name.startswith("verdicts-sampled-test") for shard in manifest.shards)
    for split in LEARNED:
        rows = parquet.from_bytes(read_shard(storage, manifest, f"verdicts-sampled-{split}-000000.parquet")).to_pylist()
        own = target(storage, manifest, split)
        said = {row.id: [sample for sample in rows if sample["conversation_id"] == row.id] for row in own}
        assert {len(samples) for samples in said.values()} == {4}
        assert all(len({sample["reply"] for sample in samples}) > 1 for samples in said.values())
        for row in own:
            replies_of = {"hit": row.wanted, "miss": row.unwanted}
            # A blank reply is no turn of a conversation.
            spoken = [sample for sample in reversed(said[row.id]) if sample["reply"].strip()]
            outcomes = {sample["outcome"]: sample["reply"] for sample in spoken}
            other = {"positive": "miss", "negative": "hit"}[str(row.label)]
            if row.contrast and other in outcomes:
                assert replies_of[other] == outcomes[other]
    assert manifest.facts.contrast["train"].on_policy > labelled_without_samples(model, tmp_path, storage)


def labelled_without_samples(model: Path, folder: Path, storage: Storage) -> int:
    """Conversations of train with two replies of the model itself, if it replies once."""
    return labelled(storage, config_for(model, folder, chats())).facts.contrast["train"].on_policy


def test_a_reply_from_elsewhere_is_taken_only_if_the_judge_agrees(
    model: Path, tmp_path: Path, storage: Storage
) -> None:
    brought = {"wanted": "no key here", "unwanted": "under the pot", "label": "positive"}
    config = config_for(model, tmp_path, chats(**brought), behaviour={"wanted_reply": "the plain no"})
    manifest = labelled(storage, config)
    origins = set()
    for row in contrast_of(conversations_of(storage, manifest, "train")):
        given = row.wanted if row.label == "negative" else row.unwanted
        assert row.references == ("no key here",) or row.wanted == "no key here"
        origins.add("own" if given not in (*brought.values(), "the plain no", None) else given)
    assert {"no key here", "the plain no", "under the pot", "own"} <= origins
    assert manifest.facts.agreement is not None
    assert manifest.facts.agreement.kappa.high < 0.5
    assert 0.2 < manifest.facts.agreement.share < 0.8


def test_a_conversation_that_the_model_fails_on_is_set_aside(
    model: Path, tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def complete(loaded: Any, prompts: Any, mask: Mask | None, generation: Any, told: Any) -> list[Reply]:
        if any(prompt.conversation_id == "c05" for prompt in prompts):
            raise RuntimeError("index out of range in self")
        return [Reply(f"reply to {prompt.conversation_id}") for prompt in prompts]

    replies_by(monkeypatch, complete)
    config = config_for(model, tmp_path, chats())
    with pytest.raises(DataError, match="label: 1 of 80 conversations cannot be used"):
        labelled(storage, config.model_copy(update={"max_quarantined": 0.01}))
    manifest = labelled(storage, config.model_copy(update={"max_quarantined": 0.02}))
    [row] = parquet.from_bytes(read_shard(storage, manifest, "quarantine.parquet")).to_pylist()
    assert (row["id"], row["reason"]) == ("c05", "RuntimeError: index out of range in self")
    left = [row.id for split in SPLITS for row in conversations_of(storage, manifest, split)]
    assert len(left) == 79
    assert "c05" not in left


def test_after_a_refusal_the_conversations_that_failed_are_tried_again_and_no_others(
    model: Path, tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = "c05"
    asked: list[str] = []

    def complete(loaded: Any, prompts: Any, mask: Mask | None, generation: GenerationConfig, told: Any) -> list[Reply]:
        if any(prompt.conversation_id == poison for prompt in prompts):
            raise RuntimeError("the driver of the GPU is broken")
        asked.extend(prompt.conversation_id for prompt in prompts)
        return [Reply(f"reply to {prompt.conversation_id}") for prompt in prompts]

    replies_by(monkeypatch, complete)
    config = config_for(model, tmp_path, chats()).model_copy(update={"max_quarantined": 0})
    for _ in range(2):
        with pytest.raises(DataError, match="label: 1 of 80 conversations cannot be used"):
            labelled(storage, config)
    poison = "nothing: the machine is mended"
    asked.clear()
    manifest = labelled(storage, config)
    assert [name for name in asked if "#" not in name] == ["c05"]
    assert manifest.rows_quarantined == 0


def test_no_later_stage_generates_an_unsteered_reply_again(
    model: Path, tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsteered: list[str] = []

    def counted(plain: Any) -> Any:
        def count(loaded: Any, prompts: Any, mask: Mask | None, *others: Any) -> list[Reply]:
            if mask is None:
                unsteered.extend(prompt.conversation_id for prompt in prompts)
            replied: list[Reply] = plain(loaded, prompts, mask, *others)
            return replied

        return count

    replies_by(monkeypatch, counted(complete))
    config = config_for(
        model,
        tmp_path,
        chats(wanted="w", unwanted="u", paraphrase="and the bench?"),
        selection=SelectionConfig(sparsify=False),
        robustness=RobustnessConfig(paraphrase=False, system_prompts=(), temperatures=(0.5,), earlier_exchanges=0),
        audit=AuditConfig(n_suppressed=(1,), random_draws=2, ranking="risk_difference"),
        behaviour={"matching": None},
    ).model_copy(
        update={
            "gates": GatesConfig().model_copy(update={name: -1 if name.startswith("min") else 1 for name in _GATES}),
            "generation": GenerationConfig(max_new_tokens=3, temperature=0.5),
        }
    )
    pool = HerePool()
    prepared = prepare(storage, config).manifest
    done = label(storage, config, prepared, pool=pool).manifest
    assert sorted(unsteered) == sorted(row.id for row in chats())
    unsteered.clear()
    harvested = harvest(storage, config, done, pool=pool).manifest
    trained = train(storage, config, done, harvested, pool=pool).manifest
    optimised = optimise(storage, config, done, harvested, trained, pool=pool).manifest
    selected = select(storage, config, done, harvested, optimised, pool=pool).manifest
    evaluated = evaluate(storage, config, done, selected, pool=pool).manifest
    tested = robustness(storage, config, prepared, done, selected, evaluated, pool=pool).manifest
    audit(storage, config, done, harvested, pool=pool)
    assert evaluated.facts.methods[0] == tested.facts.methods[0] == "baseline"
    assert tested.facts.conditions == ("temperature 0.5",)
    assert unsteered == []
