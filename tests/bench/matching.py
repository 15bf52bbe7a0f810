"""Time and memory of matching by the number of conversations, and how pairs compare with those of all comparisons.

``python -m tests.bench.matching`` prints both. Random requests have Zipf's distribution of words and 50 topics; every
third conversation has an earlier turn. With ``_BLOCK`` above the number of rows, matching compares all that share a
word, which is what the pairs are compared with.
"""

import math
import time
from collections.abc import Sequence

import numpy as np

from mascing.conversations import matching
from mascing.schemas.config import MatchingConfig
from mascing.schemas.conversation import Conversation, Message
from tests.bench import peak_memory

_WORDS, _TOPICS, _TOPIC_WORDS = 20_000, 50, 30


def conversations(rows: int, seed: int) -> list[Conversation]:
    """Random conversations, five to a group on average."""
    rng = np.random.default_rng(seed)
    frequency = 1 / np.arange(1, _WORDS + 1)
    frequency /= frequency.sum()
    topics = rng.choice(_WORDS, (_TOPICS, _TOPIC_WORDS), p=frequency)
    made = []
    for row in range(rows):
        words = rng.choice(_WORDS, int(np.clip(rng.lognormal(math.log(14), 0.6), 3, 80)), p=frequency)
        of_topic = rng.random(len(words)) < 0.35
        words = np.where(of_topic, rng.choice(topics[rng.integers(_TOPICS)], len(words)), words)
        request = Message(role="user", content=" ".join(f"w{word}" for word in words))
        earlier = (Message(role="user", content="so"), Message(role="assistant", content="yes"))
        made.append(
            Conversation(
                id=str(row),
                group_id=str(rng.integers(rows // 5)),
                label="positive" if rng.random() < 0.4 else "negative",
                messages=(*earlier, request) if row % 3 == 0 else (request,),
            )
        )
    return made


def balance(rows: Sequence[Conversation], pairs: Sequence[tuple[str, str]]) -> dict[str, float]:
    """Pairs, share of pairs within a group, mean ratio of lengths, and the standardised difference of log lengths."""
    by_id = {row.id: row for row in rows}
    length = {row.id: math.log(sum(len(message.content) for message in row.messages)) for row in rows}
    apart = np.array([length[positive] - length[negative] for positive, negative in pairs])
    within = [by_id[positive].group_id == by_id[negative].group_id for positive, negative in pairs]
    return {
        "pairs": len(pairs),
        "within": float(np.mean(within)),
        "ratio": float(np.exp(np.abs(apart).mean())),
        "difference": float(apart.mean() / np.std(list(length.values()))),
    }


def _print_growth() -> None:
    matching.matched_pairs(conversations(100, 0), MatchingConfig())  # imports
    sizes, times = (2000, 8000, 32_000, 128_000), []
    print("| conversations | pairs | seconds | MB |\n|---|---|---|---|")
    for rows in sizes:
        made = conversations(rows, 0)
        start, used = time.process_time(), peak_memory.start_anew()
        pairs = matching.matched_pairs(made, MatchingConfig())
        seconds = time.process_time() - start
        megabytes = peak_memory.megabytes_above(used)
        print(f"| {rows} | {len(pairs)} | {seconds:.2f} | {megabytes} |", flush=True)
        times.append(seconds)
    print(f"\ntime grows with the power {np.polyfit(np.log(sizes), np.log(times), 1)[0]:.2f} of the conversations")


def _print_balance() -> None:
    print("\n| set | compared | pairs | within a group | mean length ratio | standardised difference |\n|" + "---|" * 6)
    block = matching._BLOCK
    for seed in range(4):
        rows = conversations(8000, seed)
        for name, size in (("in blocks", block), ("all", len(rows))):
            matching._BLOCK = size
            found = balance(rows, matching.matched_pairs(rows, MatchingConfig()))
            print(f"| {seed} | {name} | {' | '.join(f'{value:.4g}' for value in found.values())} |", flush=True)
    matching._BLOCK = block


if __name__ == "__main__":
    _print_growth()
    _print_balance()
