"""vLLM's server with masks, by the real client: each reply under the mask it asked for, and says so."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
import torch

from mascing.errors import SteeringError
from mascing.masks.mask import Mask
from mascing.models.checkpoint_names import NamedCheckpoint
from mascing.runs.files import CARD, MASK
from mascing.runs.registry import publish
from mascing.schemas.facts import MaskFacts
from mascing.schemas.finished import MaskStored
from mascing.serving.against import verify_against
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage
from tests.mascing.made_cards import FINGERPRINT, SPEC, a_card, stored
from tests.mascing.serving.vllm_plugin.started_vllm import LAYERS, Running, ask, masks, spec, started

pytest.importorskip("vllm")

MASKS = masks(6)
DEFENCE, POLICY, FIRST, SECOND, *_ = MASKS
SWAPS, CLIENTS = 200, 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    for number, mask in enumerate(MASKS):
        mask.save(folder / f"{number}.safetensors")
    return folder


@pytest.fixture(scope="module")
def channel(folder: Path) -> Storage:
    storage = Storage.open(str(folder / "storage"))
    move(storage, "first", FIRST)
    return storage


@pytest.fixture(scope="module")
def server(folder: Path, channel: Storage) -> Iterator[Running]:
    named = [f"--mask=defence={folder / '0.safetensors'}", f"--mask=policy={folder / '1.safetensors'}", "--slots=12"]
    with started(folder, *named, "--follow=policy@candidate", f"--storage={folder / 'storage'}") as running:
        yield running


def move(storage: Storage, name: str, mask: Mask) -> None:
    publish(storage, NamedCheckpoint("org/m", FINGERPRINT), "policy", stored(storage, name, mask))


def proof(reply: Any) -> Any:
    return reply.model_extra["mascing"]


def text(reply: Any) -> str:
    return str(reply.choices[0].message.content)


def of_stream(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_it_says_that_it_listens_once_it_does(server: Running) -> None:
    deadline = time.monotonic() + 30
    while "\ncurl " not in (log := server.log.read_text(errors="replace")) and time.monotonic() < deadline:
        time.sleep(0.1)
    above, _, request = log.partition("listening; try:\n")
    assert "Route: /openapi.json, " in above, "the routes scroll away what is said before them"
    assert request.startswith(f"curl {server.url}/v1/chat/completions ")
    assert "Route: " not in request


def test_each_reply_is_under_the_mask_it_asked_for_and_says_so(server: Running) -> None:
    said = {name: ask(server.client, mask=name) for name in ("none", "defence", "policy")}
    assert len({text(reply) for reply in said.values()}) == 3
    assert proof(said["none"]) == {"mask": None, "digest": None, "tokens": "all", "steered_tokens": {}}
    for name, mask in {"defence": DEFENCE, "policy": POLICY}.items():
        steered = said[name].usage.total_tokens - 1  # the last one predicts none
        counted = dict.fromkeys(LAYERS, steered)
        assert proof(said[name]) == {"mask": name, "digest": mask.digest, "tokens": "all", "steered_tokens": counted}
    assert text(ask(server.client, mask=POLICY.digest[:12])) == text(said["policy"])


def test_a_stream_gives_the_same_text_and_its_last_chunk_the_proof(server: Running) -> None:
    whole = ask(server.client, "a stream", mask="defence")
    usage: dict[str, Any] = {"stream_options": {"include_usage": True}}
    for options in ({}, usage):
        chunks = list(ask(server.client, "a stream", mask="defence", stream=True, **options))
        assert of_stream(chunks) == text(whole)
        assert len(chunks) > 6
        assert ["mascing" in (chunk.model_extra or {}) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
        assert proof(chunks[-1])["digest"] == DEFENCE.digest


@pytest.mark.parametrize("tokens", ["prompt", "reply", "from:5", "from:200"])
def test_a_mask_for_a_part_acts_on_that_part(server: Running, tokens: str) -> None:
    reply = ask(server.client, f"part {tokens}", mask="defence", tokens=tokens)
    prompt, made = reply.usage.prompt_tokens, reply.usage.completion_tokens - 1
    expected = {"prompt": prompt, "reply": made, "from:5": prompt + made - 5, "from:200": 0}
    assert proof(reply)["steered_tokens"] == dict.fromkeys(LAYERS, expected[tokens])
    assert (proof(reply)["mask"], proof(reply)["digest"]) == ("defence", DEFENCE.digest)


def test_every_way_of_asking_is_steered_or_refused(server: Running) -> None:
    client, xargs = server.client, {"vllm_xargs": {"mascing_mask": "policy"}}
    alone = text(ask(client, "many", mask="policy"))
    several = ask(client, "many", mask="policy", n=2, temperature=1, extra_body={"top_k": 1})
    assert [choice.message.content for choice in several.choices] == [alone, alone]
    assert proof(several)["digest"] == POLICY.digest
    routed = 2 * several.usage.prompt_tokens + several.usage.completion_tokens - 2
    assert proof(several)["steered_tokens"] == dict.fromkeys(LAYERS, routed)
    fixed: dict[str, Any] = {"model": "tiny", "temperature": 0, "extra_body": xargs}
    batch = client.completions.create(prompt=["one", "two"], max_tokens=8, **fixed)
    assert batch.usage is not None
    assert proof(batch)["steered_tokens"] == dict.fromkeys(LAYERS, batch.usage.total_tokens - 2)
    response = client.responses.create(input="hello", max_output_tokens=8, **fixed)
    assert proof(response)["digest"] == POLICY.digest
    stop = next(alone[at] for at in range(4, len(alone)) if alone[at] not in "�" + alone[:at])
    stopped = ask(client, "many", mask="policy", stop=[stop])
    assert (text(stopped), proof(stopped)["digest"]) == (alone.partition(stop)[0], POLICY.digest)
    assert proof(stopped)["steered_tokens"] == dict.fromkeys(LAYERS, stopped.usage.total_tokens - 1)
    with pytest.raises(openai.BadRequestError, match="neither beam search nor"):
        ask(client, mask="policy", n=2, extra_body={"use_beam_search": True})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mask": "unheard"}, "holds no mask 'unheard': it holds"),
        ({"mask": "unheard", "stream": True}, "holds no mask 'unheard'"),
        ({"mask": "defence", "tokens": "some"}, "mascing_tokens is"),
        ({"extra_body": {"mascing_mask": "defence"}}, "belongs in vllm_xargs"),
        ({"extra_body": {"vllm_xargs": {"mascing": "1"}}}, "no argument 'mascing'"),
        ({"extra_body": {"cache_salt": "mascing:1"}}, "cache_salt cannot begin"),
    ],
)
def test_what_cannot_be_steered_as_asked_is_refused(server: Running, options: dict[str, Any], said: str) -> None:
    before = server.metric('mascing_refusals_total{reason="request"}')
    with pytest.raises(openai.BadRequestError, match=said) as refused:
        ask(server.client, **options)
    assert refused.value.type == "invalid_request_error"
    assert server.metric('mascing_refusals_total{reason="request"}') == before + 1


def test_a_mask_is_proved_on_the_server_by_what_its_tokens_select(server: Running, folder: Path) -> None:
    said = [proof.said for proof in verify_against(DEFENCE, server.url)]
    assert said[-1].endswith("0 selections of experts change from one time to the next")
    routers = spec()
    off_LE = torch.zeros(routers.n_layers, routers.n_experts, dtype=torch.bool)
    off_LE[:, [0, 5]] = True
    on_LE = off_LE.roll(1, dims=1)
    forcing = Mask.from_override(on_LE, off_LE, on_LE.float(), routers)
    weak = DEFENCE * 1e-6
    for name, mask in {"forcing": forcing, "weak": weak}.items():
        mask.save(folder / f"{name}.safetensors")
        loaded = {"name": name, "url": str(folder / f"{name}.safetensors")}
        assert server.control("POST", "masks", loaded).status_code < 300
    said = [proof.said for proof in verify_against(forcing, server.url)]
    assert any("none those forced off" in each for each in said)
    # The prompts without a mask may be in the prefix cache by now, and not those under this one.
    with pytest.raises(SteeringError, match="changes 0 of 4 greedy replies and 0 selections"):
        list(verify_against(weak, server.url))
    assert [server.control("DELETE", f"masks/{name}").is_success for name in ("forcing", "weak")] == [True, True]
    reply = ask(server.client, mask="none", selected=1)
    selections = 2 * (reply.usage.total_tokens - 1)
    counted = {layer: sum(counts) for layer, counts in proof(reply)["selected"].items()}
    assert counted == dict.fromkeys(LAYERS, selections)


def test_a_foreign_mask_is_refused_and_counted(server: Running, folder: Path) -> None:
    Mask.from_bias(torch.ones(1, 4), SPEC).save(folder / "foreign.safetensors")
    refused = server.control("POST", "masks", {"name": "other", "url": str(folder / "foreign.safetensors")})
    assert (refused.status_code, server.metric('mascing_refusals_total{reason="control"}')) == (400, 1)
    assert server.control("GET", "masks", token=None).status_code == 401


def _corrupt(channel: Storage) -> None:
    move(channel, "corrupt", POLICY)
    prefix = next(path for path in channel.list("masks") if path.startswith("masks/corrupt")).rpartition("/")[0]
    channel.overwrite(f"{prefix}/{MASK}", b"no mask")


def _foreign(channel: Storage) -> None:
    move(channel, "foreign", Mask.from_bias(torch.ones(1, 4), SPEC))


def _misdigested(channel: Storage) -> None:
    output = StageOutput(channel, MaskStored, "misdigested", "0" * 16)
    card = a_card(DEFENCE).model_dump_json().encode()
    shards = [output.put(MASK, POLICY.to_bytes(), rows=1), output.put(CARD, card, rows=0)]
    made = output.commit(shards, MaskFacts(), rows_in=1).prefix
    publish(channel, NamedCheckpoint("org/m", FINGERPRINT), "policy", made)


def test_the_default_follows_the_channel_unless_it_holds_what_may_not_serve(server: Running, channel: Storage) -> None:
    assert proof(ask(server.client))["digest"] == FIRST.digest
    move(channel, "second", SECOND)
    _wait_until(lambda: proof(ask(server.client))["digest"] == SECOND.digest)
    for spoil, reason in ((_corrupt, "damaged"), (_foreign, "foreign"), (_misdigested, "digest")):
        spoil(channel)
        _wait_until(lambda line=f'mascing_refusals_total{{reason="{reason}"}}': server.metric(line) == 1)  # type: ignore[misc]
        assert proof(ask(server.client))["digest"] == SECOND.digest


def test_the_default_steers_who_asks_for_none(server: Running) -> None:
    asked = text(ask(server.client, "default", mask="defence"))
    assert server.control("PUT", "default", {"name": "defence"}).status_code == 200
    reply = ask(server.client, "default")
    assert (text(reply), proof(reply)["mask"]) == (asked, "defence")
    beams = ask(server.client, "default", n=2, extra_body={"use_beam_search": True})
    assert proof(beams)["digest"] == DEFENCE.digest
    assert server.metric(f'mascing_default_mask{{digest="{DEFENCE.digest}",mask="defence"}}') == 1


def test_no_mask_takes_the_name_of_the_followed_channel(server: Running, folder: Path) -> None:
    followed = server.control("GET", "masks").json()["followed"]
    refused = server.control("POST", "masks", {"name": followed, "url": str(folder / "0.safetensors")})
    assert refused.status_code == 400
    assert "give the mask another name" in refused.json()["error"]["message"]


def test_two_hundred_hot_swaps_under_load_mix_no_reply(server: Running, folder: Path) -> None:
    """Each swap writes another mask under the name of the default, while sixteen clients ask for the default."""
    path = {mask.digest: str(folder / f"{number}.safetensors") for number, mask in enumerate(MASKS)}
    expected = {}
    for digest in path:
        assert server.control("POST", "masks", {"name": "hot", "url": path[digest]}).status_code == 200
        expected[digest] = text(ask(server.client, "under load", mask="hot"))
    assert len(set(expected.values())) == len(MASKS)
    assert server.control("PUT", "default", {"name": "hot"}).status_code == 200
    before, done = server.metric("mascing_swaps_total"), threading.Event()

    def asks(number: int) -> list[tuple[str, str]]:
        seen, client = [], server.client
        while not done.is_set():
            if number % 2:
                reply = ask(client, "under load")
                seen.append((proof(reply)["digest"], text(reply)))
            else:
                chunks = list(ask(client, "under load", stream=True))
                seen.append((proof(chunks[-1])["digest"], of_stream(chunks)))
        return seen

    with ThreadPoolExecutor(CLIENTS) as pool:
        running = [pool.submit(asks, number) for number in range(CLIENTS)]
        try:
            for swap in range(SWAPS):
                digest = MASKS[swap % len(MASKS)].digest
                assert server.control("POST", "masks", {"name": "hot", "url": path[digest]}).status_code == 200
        finally:
            done.set()
        replies = [reply for one in running for reply in one.result()]
    assert server.metric("mascing_swaps_total") - before >= SWAPS
    assert len(replies) >= SWAPS / 2
    assert {digest for digest, _ in replies} == set(path)
    assert [reply for reply in replies if expected[reply[0]] != reply[1]] == []


def _wait_until(true: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.2)
