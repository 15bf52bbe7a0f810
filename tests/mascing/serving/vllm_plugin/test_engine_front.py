"""The front of vLLM's engine, over an engine that pretends: what is admitted, withheld, given up, and refused at the
start."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from mascing.errors import SteeringError
from mascing.serving.held_masks import HeldMasks
from tests.mascing.made_cards import SPEC, a_mask

pytest.importorskip("vllm")

from vllm import SamplingParams
from vllm.exceptions import GenerationError, VLLMValidationError
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError
from vllm.v1.engine.input_processor import InputProcessor

from mascing.serving.vllm_plugin.front import attachment
from mascing.serving.vllm_plugin.front.engine_front import EngineFront
from mascing.serving.vllm_plugin.plugin_settings import PluginSettings

PROMPT, REPLY = [1, 2, 3], 4


class Engine:
    """Replies with a few tokens, and steers all of them but ``lacking``."""

    def __init__(self, lacking: int = 0, past_admission: bool = False, dies: str = "") -> None:
        self.lacking, self.past_admission, self.dies = lacking, past_admission, dies
        self.errored = False
        self.input_processor = SimpleNamespace(assign_request_id=lambda request: None)
        self.given_up = 0

    async def generate(self, prompt: Any, sampling_params: Any, request_id: str) -> AsyncIterator[Any]:
        request = SimpleNamespace(
            request_id=request_id, sampling_params=sampling_params.clone(), prompt_token_ids=prompt, cache_salt=None
        )
        if not self.past_admission:
            self.input_processor.assign_request_id(request)
        if self.dies == "before a token":
            self.errored = True
            await asyncio.Event().wait()
        try:
            for made in range(1, REPLY + 1):
                tokens = list(range(made))
                replies = [SimpleNamespace(index=index, token_ids=tokens) for index in range(sampling_params.n)]
                yield SimpleNamespace(outputs=replies, finished=made == REPLY)
        except GeneratorExit:
            self.given_up += 1
            raise

    async def encode(self) -> AsyncIterator[Any]:
        yield "a vector"

    async def collective_rpc(self, method: str, args: tuple[Any, ...] = ()) -> list[Any]:
        if method == "mascing_spec":
            return [SPEC.to_json()]
        if method == "mascing_proof" and self.dies:
            if self.dies == "and closes its socket":
                raise asyncio.CancelledError
            self.errored = True
            await asyncio.Event().wait()
        if method == "mascing_proof":
            steered = {request: {0: length - self.lacking} for request, length in args[0].items()}
            return [{request: {"steered": steered[request], "cached": 0, "selected": {}} for request in args[0]}]
        return [None]


def run(engine: Engine, work: Callable[[HeldMasks], Coroutine[Any, Any, None]]) -> None:
    async def made() -> None:
        front = EngineFront(engine, PluginSettings(slots=2))
        held = await front.held()
        await held.load("one", a_mask("one"))
        await work(held)

    asyncio.run(made())


def params(n: int = 1, **arguments: Any) -> SamplingParams:
    return SamplingParams(n=n, extra_args=arguments or None)


async def last(engine: Engine, n: int = 1, **arguments: Any) -> Any:
    return [output async for output in engine.generate(PROMPT, params(n, **arguments), "r")][-1]


def test_each_of_several_replies_to_one_prompt_is_counted() -> None:
    engine = Engine()

    async def work(held: HeldMasks) -> None:
        told = (await last(engine, n=3, mascing_mask="one")).mascing
        assert told.steered_tokens == {"0": 3 * 6}
        labels = {"digest": a_mask("one").digest}
        assert held.metrics.registry.get_sample_value("mascing_replies_total", labels) == 3

    run(engine, work)


def test_a_direct_user_gets_the_proof_on_the_last_output() -> None:
    engine = Engine()

    async def work(held: HeldMasks) -> None:
        told = (await last(engine, mascing_mask="one")).mascing
        assert (told.mask, told.digest, told.steered_tokens) == ("one", a_mask("one").digest, {"0": 6})
        assert (await last(engine)).mascing.digest is None
        with pytest.raises(VLLMValidationError, match="holds no mask 'two'"):
            await last(engine, mascing_mask="two")
        with pytest.raises(VLLMValidationError, match="mascing_mask is not read in vllm_xargs: it belongs at the top"):
            await last(engine, vllm_xargs={"mascing_mask": "one"})

    run(engine, work)


def test_a_reply_that_was_not_steered_whole_is_withheld() -> None:
    engine = Engine(lacking=1)

    async def work(held: HeldMasks) -> None:
        with pytest.raises(GenerationError, match="acts on 6 tokens of this reply, but layer 0 steered 5"):
            await last(engine, mascing_mask="one")

    run(engine, work)


@pytest.mark.parametrize("dies", ["before a token", "before the proof", "and closes its socket"])
def test_a_reply_whose_engine_dies_is_an_error_and_waits_no_longer(dies: str) -> None:
    engine = Engine(dies=dies)

    async def work(held: HeldMasks) -> None:
        with pytest.raises((EngineDeadError, SteeringError), match="EngineCore encountered an issue"):
            async with asyncio.timeout(10):
                await last(engine, mascing_mask="one")

    run(engine, work)


def test_nothing_comes_of_a_request_that_vllm_took_past_its_admission() -> None:
    engine = Engine(past_admission=True)

    async def work(held: HeldMasks) -> None:
        with pytest.raises(SteeringError, match="past its admission"):
            await anext(engine.generate(PROMPT, params(mascing_mask="one"), "r"))

    run(engine, work)


def test_a_client_that_goes_away_frees_its_mask() -> None:
    engine = Engine()

    async def work(held: HeldMasks) -> None:
        outputs: Any = engine.generate(PROMPT, params(mascing_mask="one"), "r")
        await anext(outputs)
        held.unload("one")
        assert held.table.mask_in(1) == a_mask("one")
        await outputs.aclose()
        assert engine.given_up == 1
        with pytest.raises(KeyError):
            held.table.mask_in(1)

    run(engine, work)


def test_what_carries_no_choice_is_refused_where_it_would_have_to_be_steered() -> None:
    engine = Engine()

    async def streamed() -> AsyncIterator[Any]:
        yield PROMPT

    async def work(held: HeldMasks) -> None:
        assert await anext(engine.encode()) == "a vector"
        held.make_default("one")
        with pytest.raises(VLLMValidationError, match="embeddings"):
            await anext(engine.encode())
        with pytest.raises(VLLMValidationError, match="as a whole"):
            await anext(engine.generate(streamed(), params(), "r"))
        assert held.metrics.registry.get_sample_value("mascing_refusals_total", {"reason": "request"}) == 2
        with pytest.raises(VLLMValidationError, match="only those that come by generate"):
            engine.input_processor.assign_request_id(SimpleNamespace(sampling_params=params()))

    run(engine, work)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Engines that were made, without the processes of real ones."""
    engines: list[Any] = []
    plain = getattr(AsyncLLM.__init__, "__wrapped__", AsyncLLM.__init__)

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        self.input_processor = SimpleNamespace(assign_request_id=None)
        engines.append(self)

    init.__signature__ = inspect.signature(plain)  # type: ignore[attr-defined]
    monkeypatch.setattr(AsyncLLM, "__init__", init)
    monkeypatch.setattr(InputProcessor, "assign_request_id", InputProcessor.assign_request_id)
    monkeypatch.setattr(attachment, "refuse_unsupported", lambda vllm_config: None)  # has tests of its own
    attachment.stand_before_engines()
    attachment.stand_before_engines()
    return engines


def make(masks: bool = True, ranks: int = 1, runner: str = "generate", **others: Any) -> AsyncLLM:
    config: Any = SimpleNamespace(
        additional_config={"mascing": {"slots": 4}} if masks else {},
        parallel_config=SimpleNamespace(data_parallel_size=ranks),
        model_config=SimpleNamespace(runner_type=runner),
    )
    return AsyncLLM(config, None, False, **others)


def test_an_engine_has_a_front_if_its_configuration_says_so(made: list[Any]) -> None:
    assert isinstance(make().mascing, EngineFront)
    plain = make(masks=False, ranks=2)
    assert set(vars(plain)) == {"input_processor"}
    for asked in {"mascing_mask": "one"}, {"vllm_xargs": {"mascing_mask": "one"}}:
        with pytest.raises(VLLMValidationError, match=r"in place of vllm\.LLM, which has no masks"):
            InputProcessor.assign_request_id(SimpleNamespace(sampling_params=params(**asked)))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"client_count": 2}, "--api-server-count 1"),
        ({"ranks": 2}, "follow the same channel"),
        ({"runner": "pooling"}, "cannot be steered"),
    ],
)
def test_what_could_not_be_steered_does_not_start(made: list[Any], asked: dict[str, Any], said: str) -> None:
    with pytest.raises(SteeringError, match=said):
        make(**asked)
    assert made == []


def test_another_version_does_not_start(made: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(InputProcessor, "assign_request_id", staticmethod(lambda request, more: None))
    with pytest.raises(SteeringError, match=r"InputProcessor\.assign_request_id is not as this version"):
        make()
    assert made == []
