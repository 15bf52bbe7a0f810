"""The replies that a page shows, by conversation."""

from pathlib import Path

from mascing.report import build_report
from mascing.storage.object_storage import Storage
from tests.mascing.report.page_parts import Page
from tests.mascing.report.run_on_disk import HOSTILE, RAW, THOUGHT, Replies, made_up_conversations, write_run


def test_replies_are_text_whatever_they_hold(page: Page, html: str) -> None:
    shown = [quote.text for quote in page.at("replies").all("blockquote")]
    assert HOSTILE in shown
    assert page.all("img") == []
    assert "<script>alert" not in html


def test_samples_show_gains_losses_and_what_did_not_change(page: Page) -> None:
    head, *rows = page.table("Replies changed by each mask")
    moved = {(row[0], row[1]): dict(zip(head[2:], map(int, row[2:]), strict=True)) for row in rows}
    assert [row[0] for row in rows[::3]] == ["mascing", "steermoe", "gradient", "random"]
    for counts in moved.values():
        assert counts.pop("Conversations") == 60 == sum(counts.values())
    assert moved["random", "Utility: benign"]["Lost"] > 3
    assert moved["gradient", "Target"]["Gained"] > 3
    replies = page.at("replies").words()
    assert f"only with the mask: {moved['gradient', 'Target']['Gained']} of 60, 12 shown" in replies
    assert f"the same reply: {moved['gradient', 'Utility: benign']['Unchanged']} of 60, 4 shown" in replies


def test_a_sample_shows_the_whole_conversation_and_the_wanted_reply(page: Page) -> None:
    shown = next(article for article in page.at("replies").all("article") if article.all("details"))
    words = shown.words()
    (conversation,) = (candidate for candidate in made_up_conversations() if candidate.id == shown.all("h4")[0].words())
    assert all(message.content in words for message in conversation.messages)
    assert f"wanted {conversation.wanted}" in words


def test_thoughts_are_folded_and_apart_from_replies(page: Page) -> None:
    thoughts = [fold for fold in page.all("details") if fold.attributes.get("class") == "thought"]
    assert {fold.text.strip().removeprefix("Thought").strip() for fold in thoughts} == {THOUGHT}
    assert not any("open" in fold.attributes for fold in thoughts)
    assert not any(THOUGHT in quote.text for quote in page.all("blockquote"))


def test_what_a_judge_said_is_folded_under_its_replies(page: Page) -> None:
    said = [fold for fold in page.all("details") if fold.attributes.get("class") == "said"]
    assert {fold.text.strip().removeprefix("What the judge said").strip() for fold in said} == {RAW}
    assert not any("open" in fold.attributes for fold in said)
    samples = [article for article in page.at("replies").all("article") if article.all("blockquote")]
    assert len(said) == len(samples), "the judge of the unsteered replies said nothing"


def test_long_samples_are_fewer(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    long: Replies = {
        (method, conversation.id): (f"{method} " * 1500, "hit" if method == "gradient" else "miss")
        for conversation in made_up_conversations()
        for method in ("baseline", "gradient")
    }
    write_run(storage, methods=["gradient"], replies=long)
    page = Page(Path(build_report(storage)).read_text(encoding="utf-8"))
    assert 3 <= len([sample for sample in page.all("article") if "data-set" in sample.attributes]) < 3 * 12
    assert sum(len(quote.text) for quote in page.all("blockquote")) < 300_000
