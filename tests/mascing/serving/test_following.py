"""A server that follows a channel: what it takes over, and what it refuses while the mask before serves on."""

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mascing.errors import MaskError, StorageError
from mascing.masks.mask import Mask
from mascing.models.checkpoint_names import NamedCheckpoint
from mascing.runs.files import CARD, MASK
from mascing.runs.publications.followed_channel import FollowedChannel, RefusedError
from mascing.runs.registry import publish
from mascing.schemas.cards.mask_card import Channel
from mascing.schemas.cards.routing_rates import RoutingRates
from mascing.schemas.facts import MaskFacts
from mascing.schemas.finished import MaskStored
from mascing.serving import limited_reads
from mascing.serving.choice import Choice
from mascing.serving.following import Follower
from mascing.serving.held_masks import HeldMasks
from mascing.serving.mask_table import MaskTable
from mascing.serving.metrics import ServingMetrics
from mascing.serving.options import FirstMasks
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage
from tests.mascing.made_cards import FINGERPRINT, SPEC, a_card, a_mask
from tests.mascing.made_cards import stored as committed

CHECKPOINT = NamedCheckpoint("org/m", FINGERPRINT)
PATH = "registry/org--m-3fa9c1d2e4b5/policy/candidate.json"


class Model:
    """Keeps what was written into it; takes nothing once it ``breaks``."""

    def __init__(self) -> None:
        self.written: dict[int, Mask] = {}
        self.breaks = False

    async def write(self, slot: int, mask: Mask) -> None:
        if self.breaks:
            raise StorageError("the worker is gone")
        self.written[slot] = mask


class Server:
    def __init__(self, storage: Storage) -> None:
        self.storage, self.model = storage, Model()
        self.channel = self.move("first")
        table = MaskTable(SPEC, 2)
        self.held = HeldMasks(table, self.model, ServingMetrics(table, lambda: {0: (1, 1, 0, 0)}))
        self.follower = Follower(FollowedChannel(storage, self.channel), self.held)
        asyncio.run(self.follower.start())

    def move(self, name: str) -> Channel:
        return publish(self.storage, CHECKPOINT, "policy", committed(self.storage, name))

    def commit(self, name: str, mask: Mask, card: bytes) -> None:
        """Move the channel to a mask with this card, whatever it says."""
        output = StageOutput(self.storage, MaskStored, name, "0" * 16)
        shards = [output.put(MASK, mask.to_bytes(), rows=1), output.put(CARD, card, rows=0)]
        publish(self.storage, CHECKPOINT, "policy", output.commit(shards, MaskFacts(), rows_in=1).prefix)

    def look(self) -> None:
        asyncio.run(self.follower.look())

    @property
    def serves(self) -> Mask:
        """The mask of a request that asks for none, which is the one written where it points."""
        admission = self.held.table.admit(Choice())
        self.held.table.release(admission)
        mask = self.held.table.mask_in(admission.slot)
        assert self.model.written[admission.slot] == mask
        assert admission.digest == mask.digest
        return mask

    def sample(self, name: str, **labels: str) -> float | None:
        return self.held.metrics.registry.get_sample_value(name, labels)


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(Storage.open(str(tmp_path)))


def test_the_default_moves_with_the_channel_wherever_it_is_stored(
    storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mascing.serving")
    server = Server(storage)
    assert server.serves == a_mask("first")
    server.look()
    assert server.sample("mascing_swaps_total") == 1
    server.move("second")
    server.look()
    assert server.serves == a_mask("second")
    assert server.held.table.default == server.held.followed == "org--m-3fa9c1d2e4b5/policy@candidate"
    assert server.sample("mascing_swaps_total") == 2
    first, second = (f"{server.held.followed} ({a_mask(name).digest})" for name in ("first", "second"))
    server.held.make_default(None)
    told = [line for line in caplog.messages if line.startswith("the default is ")]
    assert told == [
        f"the default is {first} now; before it was no mask",
        f"the default is {second} now; before it was {first}",
        f"the default is no mask now; before it was {second}",
    ]


def test_slots_that_replies_under_way_hold_are_told(server: Server) -> None:
    table = server.held.table
    asyncio.run(server.held.load("ending", a_mask("ending")))
    admission = table.admit(Choice("ending"))
    with pytest.raises(MaskError, match=r"^all 2 slots hold masks: unload one"):
        table.reserve(a_mask("third"))
    server.held.unload("ending")
    with pytest.raises(MaskError, match=r"^all 2 slots hold masks, 1 of them only until replies under way are done"):
        table.reserve(a_mask("third"))
    table.release(admission)
    assert table.reserve(a_mask("third"))[1]


def _corrupt(server: Server) -> None:
    server.commit("corrupt", a_mask("corrupt"), a_card(a_mask("corrupt")).model_dump_json().encode())
    prefix = server.storage.list("masks/corrupt-0000000000000000")[0].rpartition("/")[0]
    server.storage.overwrite(f"{prefix}/{MASK}", b"no mask")


def _foreign(server: Server) -> None:
    mask = Mask.from_bias(torch.ones(2, 4), replace(SPEC, layer_ids=(0, 1), fingerprint="e" * 64), {})
    server.commit("foreign", mask, a_card(mask).model_dump_json().encode())


def _misdigested(server: Server) -> None:
    server.commit("misdigested", a_mask("misdigested"), a_card(a_mask("another")).model_dump_json().encode())


def _of_another_behaviour(server: Server) -> None:
    mask = a_mask("other")
    server.commit("other", mask, a_card(mask, behaviour="defence").model_dump_json().encode())


def _failed(server: Server) -> None:
    mask = a_mask("failed")
    server.commit("failed", mask, a_card(mask, "fail").model_dump_json().encode())


def _without_a_readable_card(server: Server) -> None:
    server.commit("cardless", a_mask("cardless"), b"{}")


def _damaged_channel(server: Server) -> None:
    server.storage.overwrite(PATH, server.storage.read(PATH).replace(b"org/m", b"org/n"))


def _absent_channel(server: Server) -> None:
    server.storage.remove(PATH)


def _broken_model(server: Server) -> None:
    server.move("unheld")
    server.model.breaks = True


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_corrupt, "damaged"),
        (_foreign, "foreign"),
        (_misdigested, "digest"),
        (_of_another_behaviour, "unfit"),
        (_failed, "unfit"),
        (_without_a_readable_card, "card"),
        (_damaged_channel, "channel"),
        (_absent_channel, "channel"),
        (_broken_model, "unheld"),
    ],
)
def test_what_may_not_serve_is_refused_and_the_mask_before_serves_on(
    server: Server, spoil: Callable[[Server], None], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(server)
    with caplog.at_level(logging.WARNING):
        server.look()
        server.look()
    assert server.serves == a_mask("first")
    assert server.sample("mascing_refusals_total", reason=reason) == 1
    [logged] = caplog.records
    first = f"policy@candidate ({a_mask('first').digest})"
    assert f"refused ({reason}), the default goes on being org--m-3fa9c1d2e4b5/{first}: " in logged.getMessage()
    server.model.breaks = False
    server.storage.remove(PATH)
    server.move("third")
    server.look()
    assert server.serves == a_mask("third")


def test_it_looks_until_it_is_cancelled(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise ZeroDivisionError("of a library")

    async def follow() -> None:
        following = asyncio.create_task(server.follower.run(seconds=0.001))
        with monkeypatch.context() as patch:
            patch.setattr(Storage, "read_versioned", broken)
            while not server.sample("mascing_refusals_total", reason="error"):
                await asyncio.sleep(0.001)
        server.move("second")
        while server.serves != a_mask("second"):
            await asyncio.sleep(0.001)
        following.cancel()

    asyncio.run(asyncio.wait_for(follow(), timeout=30))


def test_a_storage_that_does_not_answer_is_counted_and_taken_up_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(storage: Storage, path: str) -> tuple[bytes, str]:
        raise StorageError("nothing answers")

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "read_versioned", silent)
        server.look()
    assert server.sample("mascing_refusals_total", reason="storage") == 1
    assert server.serves == a_mask("first")
    server.move("second")
    server.look()
    assert server.serves == a_mask("second")


def test_a_read_that_never_returns_neither_ends_the_following_nor_keeps_the_process(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    goes_on, returned = threading.Event(), threading.Event()
    read_versioned = Storage.read_versioned

    def hangs(storage: Storage, path: str) -> tuple[bytes, str]:
        goes_on.wait(30)
        returned.set()
        return read_versioned(storage, path)

    with monkeypatch.context() as patch:
        patch.setattr(limited_reads, "SECONDS", 0.05)
        patch.setattr(Storage, "read_versioned", hangs)
        server.look()
        server.look()
        assert server.follower._reads.hanging == 2
    assert server.sample("mascing_refusals_total", reason="storage") == 1
    [logged] = [record.getMessage() for record in caplog.records if "refused (storage)" in record.getMessage()]
    assert logged.endswith("there was no answer within 0.05 seconds")
    server.move("second")
    server.look()
    assert server.serves == a_mask("second")
    assert not returned.is_set(), "asyncio.run waited for the thread, so the end of a server would"
    goes_on.set()


def test_a_pipe_in_the_place_of_the_channel_is_not_waited_for(server: Server) -> None:
    path = Path(server.storage.url, PATH)
    path.unlink()
    os.mkfifo(path)
    server.look()
    assert server.sample("mascing_refusals_total", reason="storage") == 1


def test_each_damaged_version_of_the_channel_is_counted_for_itself(server: Server) -> None:
    for number in range(3):
        server.storage.overwrite(PATH, b"damaged %d" % number)
        server.look()
        server.look()
    assert server.sample("mascing_refusals_total", reason="channel") == 3


def test_a_server_does_not_start_without_the_mask_that_it_should_serve(server: Server) -> None:
    _misdigested(server)
    first = FirstMasks({}, None, FollowedChannel(server.storage, server.channel))
    with pytest.raises(RefusedError, match=r"^--follow org--m-.*/policy@candidate: .* is not the one on its card"):
        asyncio.run(first.load(server.held))


def test_drift_is_the_share_of_selections_that_moved(server: Server) -> None:
    server.held.metrics.card = RoutingRates(
        conversations=1, tokens=8, top_k=2, layers=(0,), rates=((0.5, 0.5, 0.5, 0.5),)
    )
    assert server.sample("mascing_routing_moved", layer="0") == pytest.approx(0.5)
