"""Made-up conversations and their selections, in which one circuit follows the behaviour and others follow topics.

Of 6 layers of 32 experts, 12 experts follow the label, each with a sign of its own, and 10 follow each of six topics.
"""

from dataclasses import dataclass

import numpy as np
import torch

from mascing.schemas.conversation import Conversation, Message
from mascing.topics.shared_topics import Contrasts, contrasts
from mascing.traces.trace_set import TraceSet, offsets

LAYERS, EXPERTS, TOP_K, TOKENS, TOPICS = 6, 32, 4, 20, 6
CIRCUIT, OF_TOPIC = 12, 10


@dataclass(frozen=True)
class Case:
    """``lean`` is the share of the positive conversations in the first half of the topics, and of the negative ones in
    the second; 0.5 is balanced. ``behaviour`` and ``topic`` are shifts of the circuits' logits.
    """

    conversations: int = 300
    lean: float = 0.5
    behaviour: float = 1.0
    topic: float = 1.0


def made(case: Case, seed: int) -> tuple[Contrasts, TraceSet, TraceSet]:
    """The contrasts of train and dev, and their traces; dev has half as many conversations as train."""
    circuits = np.random.default_rng(seed).permutation(LAYERS * EXPERTS)
    train, dev = (
        _split(case, circuits, f"{split}-", count, np.random.default_rng([seed, count]))
        for split, count in (("train", case.conversations), ("dev", case.conversations // 2))
    )
    return contrasts(train[0], dev[0]), train[1], dev[1]


def _split(
    case: Case, circuits: np.ndarray, prefix: str, count: int, rng: np.random.Generator
) -> tuple[list[Conversation], TraceSet]:
    rows, logits = [], []
    for number in range(count):
        positive = number % 2 == 1
        in_first_half = rng.random() < (case.lean if positive else 1 - case.lean)
        topic = int(rng.integers(TOPICS // 2)) + (0 if in_first_half else TOPICS // 2)
        logit = rng.normal(size=(TOKENS, LAYERS * EXPERTS)) + 0.3 * rng.normal(size=LAYERS * EXPERTS)
        signs = np.where(np.arange(CIRCUIT) % 2, 1, -1)
        logit[:, circuits[:CIRCUIT]] += case.behaviour * signs * (0.5 if positive else -0.5)
        start = CIRCUIT + OF_TOPIC * topic
        logit[:, circuits[start : start + OF_TOPIC]] += case.topic
        words = [f"topic{topic}word{rng.integers(30)}" for _ in range(5)]
        request = "please tell me about the {} of {} and {} with {} in {}".format(*words)
        rows.append(
            Conversation(
                id=f"{prefix}{number}",
                group_id=f"{prefix}{number}",
                label="positive" if positive else "negative",
                messages=(Message(role="user", content=request),),
            )
        )
        logits.append(logit)
    z_TLE = torch.tensor(np.concatenate(logits)).view(-1, LAYERS, EXPERTS).float()
    names = [row.id for row in rows]
    traces = TraceSet(
        z=z_TLE.half(),
        offsets=offsets([TOKENS] * count),
        labels=torch.tensor([int(row.label == "positive") for row in rows]),
        regions=torch.zeros(len(z_TLE), dtype=torch.uint8),
        ids=names,
        groups=names,
        selected=z_TLE.topk(TOP_K, dim=-1).indices.to(torch.uint8),
    )
    return rows, traces


def linear_scores(train: TraceSet, dev: TraceSet) -> np.ndarray:
    """Scores of dev by a logistic regression of the mean router logits, in place of a surrogate."""
    from sklearn.linear_model import LogisticRegression

    means_train, means_dev = (
        traces.z.float().view(len(traces), TOKENS, -1).mean(dim=1).numpy() for traces in (train, dev)
    )
    classifier = LogisticRegression(C=0.01, max_iter=300).fit(means_train, train.labels.numpy())
    scores: np.ndarray = classifier.decision_function(means_dev)
    return scores
