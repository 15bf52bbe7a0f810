from pathlib import Path

import pytest

from mascing.commands.line import interval
from mascing.conversations.splits import SPLITS
from mascing.errors import MascingError, StorageError
from mascing.report import build_report
from mascing.report.run_evidence import Reply
from mascing.report.sections.labels import draw_own_replies, replies_table
from mascing.schemas.result import Remedy, UnprovenMask
from mascing.storage.object_storage import Storage
from tests.mascing.report.made_up_labels import label_facts, replies
from tests.mascing.report.page_parts import Page
from tests.mascing.report.run_on_disk import FOLDER, Replies, made_up_conversations, write_run


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage.open(str(tmp_path / "data"))


def built(storage: Storage) -> Page:
    path = build_report(storage)
    assert path == storage.locate(FOLDER.page)
    return Page(Path(path).read_text(encoding="utf-8"))


def test_without_a_run_the_error_says_what_to_run(storage: Storage) -> None:
    with pytest.raises(MascingError, match=r"no finished run .*`mascing demo` or `mascing run`"):
        build_report(storage)


def test_without_the_inputs_the_error_says_what_to_run(storage: Storage) -> None:
    write_run(storage)
    Path(storage.locate(FOLDER.inputs)).unlink()
    with pytest.raises(MascingError, match=r"no runs/.*/inputs\.json .*`mascing run`"):
        build_report(storage)


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"model": "x"}', b"\xff"])
def test_a_result_of_another_shape_is_refused_by_name(storage: Storage, data: bytes) -> None:
    write_run(storage)
    storage.overwrite(FOLDER.result, data)
    with pytest.raises(MascingError, match=r"result\.json is not what this version"):
        build_report(storage)


def test_a_deleted_stage_is_named(storage: Storage) -> None:
    write_run(storage)
    Path(storage.locate("select/jailbreak-defence-0123456789abcdef/manifest.json")).unlink()
    with pytest.raises(MascingError, match=r"select/jailbreak-defence-0123456789abcdef holds no manifest"):
        build_report(storage)


def test_a_damaged_shard_is_never_shown(storage: Storage) -> None:
    write_run(storage)
    shard = Path(storage.locate("evaluate/jailbreak-defence-0123456789abcdef/verdicts-gradient.parquet"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(StorageError, match="damaged"):
        build_report(storage)


def test_a_run_without_a_planted_circuit_shows_its_masks_alone(storage: Storage) -> None:
    write_run(storage, truth=False)
    page = built(storage)
    assert "map-truth" not in page.figures
    assert page.figures["map-gradient"]["layout"]["shapes"] == []
    assert "circuit precision is not measured" in page.at("provenance").words()


def test_methods_that_were_switched_off_are_left_out_with_a_sentence(storage: Storage) -> None:
    write_run(storage, methods=["gradient"])
    page = built(storage)
    assert set(page.figures) & {"roc", "map-mascing", "map-steermoe", "grid-mascing-question-target"} == set()
    assert "map-gradient" in page.figures
    provenance = page.at("provenance").words()
    assert "The method mascing was switched off" in provenance
    assert "Surrogates: none was trained" in provenance
    assert all(section.attributes["id"] != "surrogates" for section in page.all("section"))
    assert "#surrogates" not in [link.attributes["href"] for link in page.all("a")]


def test_when_nothing_passes_the_page_says_so_and_follows_the_first_on_dev(storage: Storage) -> None:
    write_run(storage, min_uplift=0.9)
    page = built(storage)
    header = page.all("header")[0].words()
    assert "No mask was published: of all methods, gradient did best on dev, so only its mask could be" in header
    assert "The samples below show the gradient mask" in page.at("replies").words()
    assert "robustness" not in [section.attributes["id"] for section in page.all("section")]
    assert "none was judged under changed conditions" in page.at("provenance").words()


@pytest.mark.parametrize(
    ("stage", "missing", "sentence"),
    [
        ("evaluate", "replies", "the run left no verdicts"),
        ("select", "masks", "the run left no selected masks"),
        ("select", "grids", "the run left no selection"),
        ("harvest", "masks", "the run left no selected masks"),
        ("train", "surrogates", "none was trained"),
    ],
)
def test_a_part_that_the_run_did_not_leave_is_named(storage: Storage, stage: str, missing: str, sentence: str) -> None:
    write_run(storage, leave_out=[stage])
    page = built(storage)
    assert missing not in [section.attributes["id"] for section in page.all("section")]
    assert sentence in page.at("provenance").words()


def test_a_truth_file_that_went_away_is_named(storage: Storage) -> None:
    write_run(storage, leave_out=["testbed"])
    page = built(storage)
    assert "map-truth" not in page.figures
    assert "truth-jailbreak-defence.safetensors can no longer be read" in page.at("provenance").words()


def test_unread_replies_and_a_control_that_moves_the_target_are_warned_of(storage: Storage) -> None:
    targets = [conversation.id for conversation in made_up_conversations() if conversation.set == "target"]
    moved: Replies = {("random", key): ("sorry no key", "hit") for key in targets}
    write_run(storage, replies={**moved, ("gradient", targets[0]): ("", "unscored")})
    page = built(storage)
    header = page.all("header")[0].words()
    assert "The shuffled control also moved the target" in header
    assert "gradient 1 of 60" in header
    assert "1 of 60 unscored" in page.table("Test split: percent and percentage points, with 95% intervals")[4][1]


def test_long_texts_are_cut_and_say_so(storage: Storage) -> None:
    targets = [conversation.id for conversation in made_up_conversations() if conversation.set == "target"]
    write_run(storage, replies={("gradient", key): ("long " * 1000, "hit") for key in targets})
    page = built(storage)
    assert any("[cut here; 5000 characters in all]" in quote.text for quote in page.all("blockquote"))
    assert max(len(quote.text) for quote in page.all("blockquote")) < 1600


def test_a_mask_that_passes_and_was_not_first_on_dev_is_told(storage: Storage) -> None:
    write_run(storage, methods=["gradient", "tilt"])
    header = built(storage).all("header")[0].words()
    assert "of all methods, tilt did best on dev, so only its mask could be published, and on test it missed" in header
    assert "On test, gradient passes every gate, but is not published: the method is chosen on dev" in header


def test_the_result_is_said_before_what_else_passed(storage: Storage) -> None:
    hits: Replies = {("steermoe", conversation.id): ("sorry no key", "hit") for conversation in made_up_conversations()}
    write_run(storage, methods=["steermoe", "gradient"], replies=hits)
    header = built(storage).all("header")[0].words()
    said = [
        "The gradient mask passed every gate",
        "Under the gradient mask, ",
        "On test, steermoe passes every gate too",
    ]
    places = [header.index(sentence) for sentence in said]
    assert places == sorted(places)


def test_what_would_change_a_missed_gate_stands_above_the_evidence_and_beside_the_gate(storage: Storage) -> None:
    result = write_run(storage, min_uplift=0.9)
    remedy = Remedy(gate="target", kind="rows", sentence="bring about 200 rows for `a <b> judge`")
    unproven = UnprovenMask(method="gradient", mask=FOLDER.unproven)
    told = result.model_copy(update={"remedies": {"gradient": (remedy,)}, "unproven": unproven})
    storage.overwrite(FOLDER.result, told.model_dump_json().encode())
    page = built(storage)
    header = page.all("header")[0]
    (fold,) = header.all("details")
    item = fold.all("li")[0]
    assert item.words() == "bring about 200 rows for a <b> judge"
    assert [code.words() for code in item.all("code")] == ["a <b> judge"]
    assert "What next Bring about 200 rows for a <b> judge." in header.words()
    assert f"mascing mask show {FOLDER.unproven}" in page.all("header")[0].words()
    assert "bring about 200 rows" in page.at("gates").words()


def test_a_set_that_cannot_show_a_loss_is_told(storage: Storage) -> None:
    kept = [conversation.id for conversation in made_up_conversations() if conversation.set == "utility/benign"]
    unread: Replies = {(method, key): ("nowhere", "miss") for method in ("baseline", "gradient") for key in kept}
    write_run(storage, methods=["gradient"], replies=unread)
    page = built(storage)
    assert "gradient did best on dev" in page.all("header")[0].words()
    gate, *_ = [line for line in page.all("li") if line.attributes.get("class") == "undecided"]
    assert "utility/benign is undecided: the unsteered model scores 0.0%" in gate.words()
    table = page.table("Degenerate replies on the test split")
    assert [row[0] for row in table] == ["Method", "baseline", "gradient", "random"]


def test_a_reply_that_ended_within_its_thought_shows_the_thought() -> None:
    thought = Reply("c1", "g1", "target", "", "unscored", "its thought was cut off", thought="let me see " * 400)
    [drawn] = draw_own_replies({"c1": thought}, {})
    [sample] = drawn.samples
    assert sample.reply.thought is not None
    assert sample.reply.thought.startswith("let me see let me see")
    assert len(sample.reply.thought) < 2000


def test_a_set_without_a_scored_reply_has_no_rate() -> None:
    unscored = replies(hits=0, misses=0, unscored=60)
    facts = label_facts(sets={split: {"target": unscored} for split in SPLITS})
    assert [row[2] for row in replies_table(facts).rows] == ["–"] * 3
    assert interval(facts.sets["test"]["target"].rate) == "–"
