"""What tells the two classes apart without any routing: how a conversation looks, and which words are in it.

The published reference's classes differ in form (multi-turn against single-turn); a surrogate of such data need not
know anything else. Each predictor learns on the training split and scores the dev split, like the surrogate.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mascing.schemas.conversation import Conversation

Floats = NDArray[np.float64]

FORM = ("turns", "length", "tokens")
"""Predictors of form alone: user turns, characters of the whole conversation, tokens that the surrogate reads."""
WORDS = "words"

_LEAVES = 8
_LEAST_A_LEAF = 5


def trivial_scores(
    train: Sequence[Conversation],
    dev: Sequence[Conversation],
    tokens: Mapping[str, int],
) -> dict[str, Floats]:
    """The score of every dev conversation by each predictor: ``turns``, ``length``, ``tokens`` and ``words``.

    ``tokens`` gives the number of tokens by conversation id. A form is read by a tree over its one number, which also
    sees what is not monotone; words by a logistic regression on a bag of them. Both classes must be in ``train``.
    """
    labels = [one.label == "positive" for one in train]
    forms_train, forms_dev = ([_form(one, tokens[one.id]) for one in rows] for rows in (train, dev))
    scores = {
        name: _tree([row[place] for row in forms_train], labels, [row[place] for row in forms_dev])
        for place, name in enumerate(FORM)
    }
    return scores | {WORDS: _bag_of_words([_text(one) for one in train], labels, [_text(one) for one in dev])}


def _form(conversation: Conversation, tokens: int) -> tuple[int, int, int]:
    return conversation.turns, sum(len(message.content) for message in conversation.messages), tokens


def _text(conversation: Conversation) -> str:
    return "\n".join(message.content for message in conversation.messages)


def _tree(train: Sequence[int], labels: ArrayLike, dev: Sequence[int]) -> Floats:
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(max_leaf_nodes=_LEAVES, min_samples_leaf=_LEAST_A_LEAF, random_state=0)
    tree.fit(np.array(train)[:, None], labels)
    scores: Floats = tree.predict_proba(np.array(dev)[:, None])[:, 1]
    return scores


def _bag_of_words(train: Sequence[str], labels: ArrayLike, dev: Sequence[str]) -> Floats:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    # Any character counts where there are no words, so that a text is never empty.
    bag = TfidfVectorizer(token_pattern=r"(?u)\w+|[^\w\s]")
    classifier = LogisticRegression(C=10.0, max_iter=1000).fit(bag.fit_transform(train), labels)
    scores: Floats = classifier.decision_function(bag.transform(dev))
    return scores
