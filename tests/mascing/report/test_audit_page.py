"""The page of an audit: its headline says what falls beside the audited set."""

from pathlib import Path

from mascing.report import build_report
from mascing.report.audit_page import conclusion
from mascing.storage.object_storage import Storage
from tests.mascing.report.made_up_audit import FOLDER, audit
from tests.mascing.report.page_parts import Page


def built(tmp_path: Path, utility_after: float) -> Page:
    storage = Storage.open(str(tmp_path))
    storage.overwrite(FOLDER.audit, audit(utility_after).model_dump_json().encode())
    return Page(Path(build_report(storage)).read_text(encoding="utf-8"))


def test_the_headline_names_another_set_that_falls_under_the_same_suppression(tmp_path: Path) -> None:
    header = built(tmp_path, utility_after=0.0).all("header")[0].words()
    assert "target goes from 90.0% [82.0, 98.0] to 10.0% [2.0, 18.0] with 16 of 64 experts off" in header
    assert "the same 16 experts off take utility/benign from 98.0% to 0.0%." in header
    assert "Not only target falls" in header
    assert "protected/forbidden" not in header


def test_the_page_says_when_and_by_which_command(tmp_path: Path) -> None:
    Storage.open(str(tmp_path)).overwrite(FOLDER.config, b"a: configuration")
    (header,) = built(tmp_path, utility_after=0.0).all("header")
    assert header.all("time")[0].attributes["datetime"].endswith("Z")
    assert f"mascing audit {FOLDER.config} --storage ." in [code.words() for code in header.all("code")]


def test_no_command_is_given_where_no_configuration_was_kept(tmp_path: Path) -> None:
    assert not built(tmp_path, utility_after=0.0).all("header")[0].all("code")


def test_a_set_that_may_not_have_fallen_is_not_called_fallen(tmp_path: Path) -> None:
    assert "take" not in conclusion(audit(utility_after=0.93))
    assert "Not only" not in built(tmp_path, utility_after=0.93).all("header")[0].words()


def test_every_set_has_its_curve_and_its_words(tmp_path: Path) -> None:
    page = built(tmp_path, utility_after=0.0)
    names = {trace.get("name") for trace in page.figures["audit-curve"]["data"]}
    assert {"utility/benign, the same off", "protected/forbidden, the same off"} <= names
    (drawn,) = (part for part in page.all("div") if part.attributes.get("role") == "img")
    assert "Utility: benign: 0 off 98.0%; 4 off 49.0%; 16 off 0.0%." in drawn.attributes["aria-label"]
