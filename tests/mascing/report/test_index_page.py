"""The index at the root: every run, audit, channel and mask that is stored, however many runs end at once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from mascing.masks.mask import Mask
from mascing.models.checkpoint_names import NamedCheckpoint
from mascing.report import build_index
from mascing.runs import registry
from mascing.runs.files import CARD, MASK
from mascing.runs.run_folder import RunFolder, run_folder
from mascing.schemas.cards.mask_card import MaskCard
from mascing.schemas.cards.suppression_curve import Audit, AuditPoint
from mascing.schemas.facts import MaskFacts
from mascing.schemas.finished import MaskStored
from mascing.schemas.result import Rate, Result
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage
from tests.mascing.report.page_parts import Page
from tests.mascing.report.run_on_disk import FOLDER, SPEC, write_run

RATE = Rate(value=0.5, low=0.4, high=0.6, n=40, unscored=0)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return write_run(Storage.open(str(tmp_path_factory.mktemp("run"))), methods=("gradient",))


def store(storage: Storage, result: Result, fingerprint: str) -> RunFolder:
    folder = run_folder(result.behaviour, result.model, fingerprint)
    storage.overwrite(folder.result, result.model_dump_json().encode())
    return folder


def publish(storage: Storage, result: Result, method: str, fingerprint: str) -> str:
    """A published mask with its card; returns its prefix."""
    card = MaskCard(
        model=result.model,
        model_fingerprint="f" * 64,
        behaviour=result.behaviour,
        method=method,
        selected={},
        data={"checkpoint": "c" * 64},
        baseline=result.baseline,
        result=result.methods["gradient"],
        labels=None,
        robustness={},
        gates={},
        mask_digest=fingerprint,
    )
    output = StageOutput(storage, MaskStored, result.behaviour, fingerprint * 16)
    shards = [
        output.put(MASK, Mask.from_bias(torch.ones(4, 16), SPEC).to_bytes(), 1),
        output.put(CARD, card.model_dump_json().encode(), 0),
    ]
    prefix = output.commit(shards, MaskFacts(), rows_in=1).prefix
    registry.publish(storage, NamedCheckpoint(result.model, "c" * 64), result.behaviour, prefix)
    return prefix


def index(storage: Storage) -> Page:
    build_index(storage)
    return Page(storage.read("index.html").decode())


def test_an_empty_storage_has_an_index_that_says_so(tmp_path: Path) -> None:
    page = index(Storage.open(str(tmp_path)))
    assert "No run is finished yet." in page.root.words()
    assert page.all("table") == []


def test_every_run_is_listed_with_its_decisions_and_links(storage: Storage, result: Result) -> None:
    none = result.model_copy(update={"published": None, "behaviour": "content-policy"})
    folders = [store(storage, result, "1" * 16), store(storage, none, "2" * 16)]
    page = index(storage)
    rows = {row.all("th")[0].words(): row for row in page.all("tr") if row.all("th")[0].attributes["scope"] == "row"}
    published, unpublished = (rows[name].words() for name in ("jailbreak-defence", "content-policy"))
    assert "testbed-olmoe-cccccccccccc" in published
    assert "gradient pass random fail" in published
    assert "nothing" in unpublished
    links = {link.attributes["href"] for link in page.all("a")}
    assert links == {path for folder in folders for path in (folder.page, folder.result, folder.config)}


def test_a_channel_shows_what_it_holds_and_held(storage: Storage, result: Result) -> None:
    a, b = publish(storage, result, "gradient", "a"), publish(storage, result, "mascing", "b")
    assert publish(storage, result, "gradient", "a") == a
    channels, masks = index(storage).all("table")
    (row,) = channels.all("tbody")[0].all("tr")
    assert row.all("th")[0].text == "testbed-olmoe-cccccccccccc/jailbreak-defence@candidate"
    assert [cell.words() for cell in row.all("td")] == [a, f"{a}, {b}"]
    held = [[cell.words() for cell in row.all("td")] for row in masks.all("tbody")[0].all("tr")]
    assert [(method, by) for _, method, _, by, _ in held] == [("gradient", row.all("th")[0].text), ("mascing", "–")]


def test_an_audit_is_listed_by_its_conclusion(storage: Storage) -> None:
    point = AuditPoint(n=4, rates={"target": RATE}, changes={"target": RATE}, random=(RATE,))
    audit = Audit(
        model="m",
        behaviour="b",
        set="target",
        ranking="attribution",
        experts=64,
        baseline={"target": RATE},
        points=(point,),
    )
    folder = run_folder("b", "m", "3" * 16)
    storage.overwrite(folder.audit, audit.model_dump_json().encode())
    page = index(storage)
    assert "target goes from 50.0% [40.0, 60.0] to 50.0% [40.0, 60.0] with 4 of 64 experts off" in page.root.words()
    assert folder.page in {link.attributes["href"] for link in page.all("a")}


def test_what_another_version_left_does_not_hide_the_rest(storage: Storage, result: Result) -> None:
    store(storage, result, "1" * 16)
    storage.overwrite("runs/of-another-version/result.json", b'{"model": "x"}')
    storage.overwrite("runs/notes.txt", b"not a run")
    storage.overwrite("registry/x.json", b"{")
    storage.overwrite("masks/old-0/card.json", b"{}")
    words = index(storage).root.words()
    assert "2 runs, 0 audits, 0 channels, 0 masks" in words
    assert "of-another-version not readable by this version" in words


def test_runs_that_end_at_once_are_all_in_the_index(storage: Storage, result: Result) -> None:
    def finish(number: int) -> RunFolder:
        named = result.model_copy(update={"behaviour": f"behaviour-{number}"})
        folder = store(storage, named, f"{number}" * 16)
        build_index(storage)
        return folder

    with ThreadPoolExecutor(5) as pool:
        folders = list(pool.map(finish, range(5)))
    page = storage.read("index.html").decode()
    assert [folder.name for folder in folders if folder.page not in page] == []


def test_the_index_loads_nothing_and_escapes_names(tmp_path: Path, result: Result) -> None:
    storage = Storage.open(str(tmp_path))
    hostile = result.model_copy(update={"checkpoint": "<b>" + "x" * 200})
    storage.overwrite(FOLDER.result, hostile.model_dump_json().encode())
    page = index(storage)
    html = storage.read("index.html").decode()
    assert "default-src 'none'" in html
    assert "&lt;b&gt;xxx" in html
    assert page.all("script") == []
    assert [link.attributes["href"] for link in page.all("link")] == ["data:,"]
    assert not [link for link in page.all("a") if "://" in link.attributes["href"]]
