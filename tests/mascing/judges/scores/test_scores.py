"""Classifiers and perplexity: the numbers are the model's own, whatever the batch."""

from math import exp
from pathlib import Path
from typing import Any

import pytest
import torch

from mascing.conversations.reply import Reply
from mascing.errors import ConfigError, ModelError
from mascing.judges.judging import judge_by
from mascing.judges.speakers.checkpoint import causal_model, classification_model
from mascing.schemas.settings.judging_models import ClassifierJudge, JudgingModel, PerplexityJudge
from mascing.schemas.verdict import Verdict
from tests.mascing.judges.asked import chat
from tests.mascing.judges.speakers import tiny_judges
from tests.mascing.judges.speakers.tiny_judges import CONTEXT

REPLIES = ["Mix flour and water.", "x" * 60, "Bake it for an hour at most!", "Knead."]


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_judges.classifier(tmp_path_factory.mktemp("classes"))


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_judges.causal(tmp_path_factory.mktemp("language"))


def classified(folder: Path, replies: list[str], **fields: Any) -> list[Verdict]:
    batch = fields.pop("batch_size", 8)
    model = {"path": str(folder), "batch_size": batch}
    config = ClassifierJudge.model_validate({"model": model, "label": "rude", **fields})
    return judge_by(config, [chat()] * len(replies), [Reply(reply) for reply in replies])


@pytest.mark.parametrize("reads", ["reply", "exchange"])
def test_a_classifier_gives_its_own_probabilities(classes: Path, reads: str) -> None:
    network, words = classification_model(JudgingModel(path=str(classes)))
    together = classified(classes, REPLIES, reads=reads)
    assert [v.raw for v in together] == [v.raw for v in classified(classes, REPLIES, reads=reads, batch_size=1)]
    for reply, verdict in zip(REPLIES, together, strict=True):
        inputs = words(*((reply,) if reads == "reply" else ("How do I bake bread?", reply)), return_tensors="pt")
        inputs.pop("token_type_ids", None)
        with torch.inference_mode():
            share = float(network(**inputs).logits.softmax(-1)[0, 1])
        assert f"rude {share:.4f}" in (verdict.raw or "")
        assert verdict.outcome == ("hit" if share >= 0.5 else "miss")


def test_labels_are_names_or_numbers_and_others_are_refused(classes: Path) -> None:
    by_name, by_number = classified(classes, REPLIES), classified(classes, REPLIES, label=1)
    assert [v.outcome for v in by_name] == [v.outcome for v in by_number]
    with pytest.raises(ConfigError, match=r"only fine \(0\), rude \(1\), odd \(2\)"):
        classified(classes, REPLIES, label="rud")
    with pytest.raises(ConfigError, match="no label 3"):
        classified(classes, REPLIES, label=3)


def test_a_reply_longer_than_the_context_says_so_and_is_no_miss(classes: Path) -> None:
    [miss] = classified(classes, ["y" * (CONTEXT + 9)], threshold=0.999999)
    assert (miss.outcome, f"read from {CONTEXT} of {CONTEXT + 9} tokens" in miss.reason) == ("unscored", True)
    [hit] = classified(classes, ["y" * (CONTEXT + 9)], threshold=0.000001)
    assert (hit.outcome, "read from" in hit.reason) == ("hit", True)


def test_an_empty_reply_is_unscored_and_a_model_without_a_head_is_refused(classes: Path, language: Path) -> None:
    assert classified(classes, ["", "Knead."])[0].outcome == "unscored"
    with pytest.raises(ModelError, match="no trained classifier"):
        classified(language, ["Knead."])


def test_independent_labels_have_probabilities_of_their_own(tmp_path: Path) -> None:
    folder = tiny_judges.classifier(tmp_path, problem_type="multi_label_classification")
    [verdict] = classified(folder, ["Knead."])
    shares = [float(part.split()[-1]) for part in (verdict.raw or "").split(",")]
    assert sum(shares) != pytest.approx(1, abs=1e-3)


def judged_by_perplexity(folder: Path, replies: list[str], **fields: Any) -> list[Verdict]:
    model = {"path": str(folder), "batch_size": fields.pop("batch_size", 8)}
    config = PerplexityJudge.model_validate({"model": model, "at_most": 300.0, **fields})
    return judge_by(config, [chat()] * len(replies), [Reply(reply) for reply in replies])


def test_perplexity_is_that_of_the_reply_alone(language: Path) -> None:
    network, words = causal_model(JudgingModel(path=str(language)))
    verdicts = judged_by_perplexity(language, REPLIES)
    alone = judged_by_perplexity(language, REPLIES, batch_size=1)
    for reply, verdict, other in zip(REPLIES[:3], verdicts, alone, strict=False):
        ids = [words.bos_token_id, *words(reply, add_special_tokens=False)["input_ids"]]
        with torch.inference_mode():
            likely_TV = network(torch.tensor([ids])).logits[0].log_softmax(-1)
        expected = exp(-sum(float(likely_TV[t, ids[t + 1]]) for t in range(len(ids) - 1)) / (len(ids) - 1))
        assert float(verdict.raw or 0) == pytest.approx(expected, rel=1e-3)
        assert float(other.raw or 0) == pytest.approx(expected, rel=1e-3)
        assert verdict.outcome == ("hit" if expected <= 300 else "miss")
    assert verdicts[3].outcome == "unscored"


def test_its_threshold_least_length_and_context(language: Path) -> None:
    [always] = judged_by_perplexity(language, REPLIES[:1], at_most=1e30)
    [never] = judged_by_perplexity(language, REPLIES[:1], at_most=1.0001)
    assert (always.outcome, never.outcome) == ("hit", "miss")
    short, long = judged_by_perplexity(language, ["Knead.", "z" * (CONTEXT + 5)], at_most=1e30)
    assert (short.outcome, "its 6 tokens are too few" in short.reason) == ("unscored", True)
    assert (long.outcome, f"of the first {CONTEXT - 1} of {CONTEXT + 5} tokens" in long.reason) == ("hit", True)
