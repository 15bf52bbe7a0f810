"""Predictors that do not see routing: they use the form of a conversation, or its words.

The classes of the published reference differ in form (multi-turn against single-turn), and a surrogate of such data
need not learn anything else. Each predictor learns on the training split and scores the dev split, like the surrogate.
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
_MIN_PER_LEAF = 5


def trivial_scores(
    train: Sequence[Conversation],
    dev: Sequence[Conversation],
    tokens: Mapping[str, int],
) -> dict[str, Floats]:
    """The score of every dev conversation by each predictor: ``turns``, ``length``, ``tokens`` and ``words``.

    ``tokens`` maps a conversation id to its number of tokens. A tree predicts from each number of the form, because it
    need not be monotone. A logistic regression predicts from a bag of words. ``train`` must hold both classes.
    """
    labels = [conversation.label == "positive" for conversation in train]
    forms_train, forms_dev = _forms(train, tokens), _forms(dev, tokens)
    scores = {
        name: _tree([form[column] for form in forms_train], labels, [form[column] for form in forms_dev])
        for column, name in enumerate(FORM)
    }
    return scores | {WORDS: _bag_of_words(list(map(_text, train)), labels, list(map(_text, dev)))}


def _forms(conversations: Sequence[Conversation], tokens: Mapping[str, int]) -> list[tuple[int, int, int]]:
    return [_form(conversation, tokens[conversation.id]) for conversation in conversations]


def _form(conversation: Conversation, tokens: int) -> tuple[int, int, int]:
    return conversation.turns, sum(len(message.content) for message in conversation.messages), tokens


def _text(conversation: Conversation) -> str:
    return "\n".join(message.content for message in conversation.messages)


def _tree(train: Sequence[int], labels: ArrayLike, dev: Sequence[int]) -> Floats:
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(max_leaf_nodes=_LEAVES, min_samples_leaf=_MIN_PER_LEAF, random_state=0)
    tree.fit(np.array(train)[:, None], labels)
    scores: Floats = tree.predict_proba(np.array(dev)[:, None])[:, 1]
    return scores


def _bag_of_words(train: Sequence[str], labels: ArrayLike, dev: Sequence[str]) -> Floats:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    # Punctuation counts as words too, so that no text is empty.
    bag = TfidfVectorizer(token_pattern=r"(?u)\w+|[^\w\s]")
    classifier = LogisticRegression(C=10.0, max_iter=1000).fit(bag.fit_transform(train), labels)
    scores: Floats = classifier.decision_function(bag.transform(dev))
    return scores
