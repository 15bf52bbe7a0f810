"""The faults that strike a share of the requests to an S3 server, of every kind that a sound server may show."""

from collections import Counter
from random import Random

from tests.torture.s3_proxy import BEFORE, Fault

SHARE = 0.05
_EITHER: tuple[Fault, ...] = (
    "answer 500 instead", "answer 503 instead", "reset instead", "keep silent instead", "lose the answer",
    "answer 503 after",
)  # fmt: skip
# A list carries no checksum, so flipped bits strike objects alone. An answer of 200 to what was refused is no fault on
# the way but a server that ignores conditions, which a storage refuses when it is opened.
_FAULTS: dict[str, tuple[Fault, ...]] = {
    "GET": (*_EITHER, "cut the body", "dribble"),
    "object": (*_EITHER, "cut the body", "dribble", "flip a bit"),
    "PUT": (*_EITHER, "answer 409 instead", "flip a bit of the request"),
}


class StorageFaults:
    """Draws the faults of a round, and counts them."""

    def __init__(self) -> None:
        self._random = Random(0)
        self.made: Counter[str] = Counter()

    def begin(self, random: Random) -> None:
        """Draw with this from now on, and count from 0."""
        self._random, self.made = Random(random.random()), Counter()

    def plan(self, method: str, path: str, status: int) -> Fault:
        """The fault of a request (``status`` 0) or of its answer, as :func:`faulty_proxy` asks for it."""
        is_object = method == "GET" and "list-type" not in path and "uploads" not in path
        faults = _FAULTS.get("object" if is_object else method, _EITHER)
        of_this_moment = [fault for fault in faults if (fault in BEFORE) == (status == 0)]
        if self._random.random() >= SHARE * len(of_this_moment) / len(faults):
            return None
        fault = self._random.choice(of_this_moment)
        self.made[str(fault)] += 1
        return fault
