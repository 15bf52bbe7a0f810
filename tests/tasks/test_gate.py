"""Publication: nothing if the labels are meaningless, and no mask that works on dev alone."""

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pytest
import torch

from mascing.conversations.parquet_tables import to_table
from mascing.conversations.splits import split_of
from mascing.masks import candidates as candidate_files
from mascing.masks.candidates import Candidate
from mascing.masks.mask import Mask
from mascing.routers.spec import RouterSpec
from mascing.schemas.cards.topic_null import ExpertNull
from mascing.schemas.config import GatesConfig, ModelConfig, RobustnessConfig, RunConfig, SplitConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.facts import EvaluateFacts, PrepareFacts, TrainFacts
from mascing.schemas.finished import Evaluated, Gated, Labelled, Prepared, RobustnessTested, Selected, Trained
from mascing.schemas.manifest import Facts, Manifest
from mascing.schemas.result import SplitSizes
from mascing.schemas.tables import VERDICTS
from mascing.storage import parquet as tables
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage
from mascing.tasks.gate import gate
from mascing.tasks.robustness import robustness
from mascing.tasks.workers.pool import Pool
from mascing.testbeds.planted import behaviour_config, conversations
from tests.mascing.report.made_up_labels import label_facts
from tests.mascing.report.made_up_searches import expert_null, selection_facts

BEHAVIOUR = "jailbreak-defence"
SPEC = RouterSpec("olmoe", (0, 1), n_experts=4, top_k=2, scoring="softmax", fingerprint="f" * 64)
TEST = [
    conversation
    for conversation in conversations(BEHAVIOUR, 0)
    if split_of(conversation.group_id, SplitConfig()) == "test"
]

NO_CONDITIONS = RobustnessConfig(paraphrase=False, system_prompts=(), temperatures=(), earlier_exchanges=0)

M = TypeVar("M", bound=Manifest)

Hits = Callable[[Conversation], bool]


def by_itself(conversation: Conversation) -> bool:
    """The outcome of the unsteered model: as labelled in the target set, and a hit elsewhere."""
    return conversation.label != "negative"


def run(
    folder: Path,
    rows: Sequence[Conversation],
    methods: Mapping[str, Hits],
    min_uplift: float = 0.1,
    *,
    conditions: bool = True,
    experts: Mapping[str, ExpertNull] | None = None,
) -> tuple[RobustnessTested, Gated]:
    """The robustness and gate stages on verdicts made by hand; the pool does not start if no mask passes.

    Every mask but the one of `gradient` is found in the span "reply", whose ``experts`` train has compared.
    """
    storage = Storage.open(str(folder))
    behaviour = behaviour_config(BEHAVIOUR, str(folder))
    config = RunConfig(
        model=ModelConfig(path="unread"),
        behaviour=behaviour.model_copy(update={"truth": None}),
        gates=GatesConfig(min_uplift=min_uplift),
        robustness=RobustnessConfig() if conditions else NO_CONDITIONS,
    )
    sizes = SplitSizes(train=0, dev=0, test=len(rows))
    prepared = _stage(
        storage,
        Prepared,
        {"conversations-test-000000.parquet": tables.to_bytes(to_table(rows))},
        PrepareFacts(splits=sizes, sets={}),
    )
    labelled = _stage(
        storage,
        Labelled,
        {
            "conversations-test-000000.parquet": tables.to_bytes(to_table(rows)),
            "verdicts-unsteered-test-000000.parquet": _verdicts("baseline", rows, methods["baseline"]),
        },
        label_facts(),
    )
    picks = [
        Candidate(
            name,
            {"alpha": 1.0} | ({} if name == "gradient" else {"span": "reply"}),
            Mask.from_bias(torch.ones(2, 4), SPEC),
        )
        for name in methods
        if name != "baseline"
    ]
    order = [pick.method for pick in picks if pick.method != "random"]
    facts = selection_facts([]).model_copy(update={"order": tuple(order)})
    selected = _stage(storage, Selected, {"selected.safetensors": candidate_files.to_bytes(picks)}, facts)
    verdicts = {f"verdicts-{name}.parquet": _verdicts(name, rows, hits) for name, hits in methods.items()}
    evaluated = _stage(storage, Evaluated, verdicts, EvaluateFacts(methods=tuple(methods)))
    trained = _stage(storage, Trained, {}, TrainFacts(experts=dict(experts or {})))
    with Pool(config.compute) as pool:
        robust = robustness(storage, config, prepared, labelled, selected, evaluated, pool=pool).manifest
    return robust, gate(storage, config, prepared, trained, selected, evaluated, robust).manifest


def _stage(storage: Storage, leaves: type[M], files: Mapping[str, bytes], facts: Facts) -> M:
    output = StageOutput(storage, leaves, BEHAVIOUR, "0" * 16)
    shards = [output.put(file, data, _rows(file, data)) for file, data in files.items()]
    return output.commit(shards, facts, rows_in=sum(shard.rows for shard in shards))


def _rows(file: str, data: bytes) -> int:
    return len(tables.from_bytes(data, file)) if file.endswith(".parquet") else 1


def _verdicts(method: str, rows: Sequence[Conversation], hits: Hits) -> bytes:
    verdicts = [
        {
            "conversation_id": conversation.id,
            "group_id": conversation.group_id,
            "set": conversation.set,
            "method": method,
            "reply": "a reply",
            "thought": None,
            "cut_off": False,
            "outcome": "hit" if hits(conversation) else "miss",
            "reason": "as told",
        }
        for conversation in rows
    ]
    return tables.to_bytes(pa.Table.from_pylist(verdicts, schema=VERDICTS))


def permuted(rows: Sequence[Conversation]) -> list[Conversation]:
    labels = [conversation.label for conversation in rows if conversation.set == "target"]
    random.Random(0).shuffle(labels)
    shuffled = iter(labels)
    return [
        conversation.model_copy(update={"label": next(shuffled)}) if conversation.set == "target" else conversation
        for conversation in rows
    ]


def test_with_permuted_labels_nothing_is_published_and_the_reason_says_so(tmp_path: Path) -> None:
    truth = {conversation.id: by_itself(conversation) for conversation in TEST}
    methods: dict[str, Hits] = {
        "baseline": lambda conversation: truth[conversation.id],
        "gradient": lambda conversation: True,
    }
    robust, gated = run(tmp_path, permuted(TEST), methods)
    assert gated.facts.winner is None
    result = gated.facts.methods["gradient"]
    failing = [reason for reason in result.reasons if " fails: " in reason]
    assert len(failing) == 1
    assert failing[0].startswith("labels fails: their agreement with the unsteered model's own replies, beyond chance")
    assert gated.facts.labels is not None
    assert abs(gated.facts.labels.value) < 0.2
    assert robust.facts.conditions == ()  # no conversation is judged for a mask that cannot be published


@pytest.mark.parametrize("unchanged_share", [0.5, 1.0])
def test_a_mask_that_won_on_dev_and_does_nothing_on_test_is_not_published(
    tmp_path: Path, unchanged_share: float
) -> None:
    # On the test split the mask breaks as many replies as it mends.
    drawn = {conversation.id: random.Random(conversation.id).random() for conversation in TEST}
    methods: dict[str, Hits] = {
        "baseline": by_itself,
        "gradient": lambda conversation: (
            by_itself(conversation)
            if conversation.set != "target" or drawn[conversation.id] < unchanged_share
            else not by_itself(conversation)
        ),
    }
    _, gated = run(tmp_path, TEST, methods)
    assert gated.facts.winner is None
    result = gated.facts.methods["gradient"]
    assert [reason.partition(":")[0] for reason in result.reasons if " fails: " in reason] == ["target fails"]
    assert any(reason.startswith("labels passes") for reason in result.reasons)


def test_every_method_is_compared_with_baseline_and_control(tmp_path: Path) -> None:
    mended = {conversation.id for conversation in TEST[1::4] if conversation.label == "negative"}
    methods: dict[str, Hits] = {
        "baseline": by_itself,
        "gradient": lambda conversation: by_itself(conversation) or conversation.id in mended,
        "random": by_itself,
    }
    _, gated = run(tmp_path, TEST, methods, min_uplift=1)
    compared = {(comparison.method, comparison.against): comparison for comparison in gated.facts.comparisons}
    assert list(compared) == [("gradient", "baseline"), ("random", "baseline"), ("gradient", "random")]
    targets = sum(conversation.set == "target" for conversation in TEST)
    against = compared["gradient", "random"]
    assert against.difference.value == pytest.approx(len(mended) / targets)
    assert against.difference.low > 0
    assert against.p < 0.05
    assert against.holm_p == pytest.approx(3 * against.p)
    assert compared["random", "baseline"].p == compared["random", "baseline"].holm_p == 1


def test_a_method_that_passes_on_test_is_not_published_where_dev_ranks_another_first(tmp_path: Path) -> None:
    methods: dict[str, Hits] = {
        "baseline": by_itself,
        "steermoe": by_itself,  # first on dev, and does nothing on test
        "gradient": lambda conversation: True,
    }
    _, gated = run(tmp_path, TEST, methods, conditions=False)
    assert gated.facts.first_on_dev == "steermoe"
    assert {name: result.gate for name, result in gated.facts.methods.items()} == {
        "steermoe": "fail",
        "gradient": "pass",
    }
    assert gated.facts.winner is None


def test_the_first_on_dev_is_published_where_it_passes_on_test(tmp_path: Path) -> None:
    methods: dict[str, Hits] = {"baseline": by_itself, "gradient": lambda conversation: True}
    _, gated = run(tmp_path, TEST, methods, conditions=False)
    assert (gated.facts.first_on_dev, gated.facts.winner) == ("gradient", "gradient")


def test_a_mask_whose_experts_topic_explains_is_not_published(tmp_path: Path) -> None:
    methods: dict[str, Hits] = {"baseline": by_itself, "steermoe": lambda _: True, "gradient": lambda _: True}
    _, gated = run(tmp_path, TEST, methods, conditions=False, experts={"reply": expert_null()})
    assert {name: result.gate for name, result in gated.facts.methods.items()} == {
        "steermoe": "fail",
        "gradient": "pass",  # it compares no routing of the classes
    }
    assert gated.facts.winner is None
    [failing] = [reason for reason in gated.facts.methods["steermoe"].reasons if " fails: " in reason]
    assert failing.startswith("topic fails: span reply: topic moves the 4 strongest experts as much")


def test_a_set_that_the_unsteered_model_fails_blocks_publication_and_says_what_to_do(tmp_path: Path) -> None:
    def fails_benign(conversation: Conversation) -> bool:
        return by_itself(conversation) and not conversation.set.startswith("utility")

    methods: dict[str, Hits] = {
        "baseline": fails_benign,
        "gradient": lambda conversation: fails_benign(conversation) or conversation.set == "target",
    }
    robust, gated = run(tmp_path, TEST, methods)
    result = gated.facts.methods["gradient"]
    assert (result.gate, gated.facts.winner) == ("undecided", None)
    [reason] = [reason for reason in result.reasons if " is undecided: " in reason]
    assert reason.startswith("utility/benign is undecided: the unsteered model scores 0.0%")
    assert "remove the set" in reason
    assert robust.facts.conditions == ()
