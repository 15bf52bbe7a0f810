"""vLLM in this process, under masks: many requests in one continuous batch, each under its own, or recorded.

Shape suffixes: T token, L MoE layer, E expert, K selected expert.
"""

import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np

from mascing.errors import DataError, SteeringError
from mascing.masks.mask import Mask, refuse_empty
from mascing.routers.spec import RouterSpec
from mascing.serving.choice import Choice, Span
from mascing.serving.vllm_plugin.front.proofs import Steered, check
from mascing.serving.vllm_plugin.plugin_settings import KEY
from mascing.serving.vllm_plugin.registration import register
from mascing.steering.steer import check_fits

IN_THIS_PROCESS = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}


@dataclass(frozen=True)
class Request:
    """A prompt, the mask that steers its reply, and the tokens on which it acts.

    Raises MaskError for ``tokens`` that a :class:`Choice` does not know, also where no mask acts on them.
    """

    prompt: Sequence[int]
    mask: Mask | None = None
    tokens: str = "all"
    seed: int | None = None

    def __post_init__(self) -> None:
        Choice(tokens=self.tokens)


@dataclass(frozen=True)
class Generated:
    """The tokens of a reply with its end token, whether the limit cut it off, and tokens steered by depth of layer."""

    token_ids: list[int]
    cut_off: bool
    steered: dict[int, int] = field(default_factory=dict)


class SteeredVllm:
    """A model in vLLM, with as many masks at once as it has slots. Raises the errors of the plugin.

    One call at a time: while what :meth:`generate` or :meth:`record` yields is not read to its end, and its iterator
    not closed, the next call raises SteeringError. Both raise DataError for a prompt that the model cannot read, before
    any of the call is computed.
    """

    def __init__(
        self,
        folder: str,
        *,
        dtype: str = "auto",
        slots: int = 256,
        capture: bool = False,
        engine_args: Mapping[str, Any] | None = None,
    ) -> None:
        """Load the model of a folder; ``engine_args`` are those of ``vllm.LLM``."""
        # vLLM reads these when its engine is made; another process could not be asked for recorded tensors.
        os.environ.update(IN_THIS_PROCESS)
        os.environ.setdefault("VLLM_USE_V2_MODEL_RUNNER", "0")  # the tests run the first version of the two
        from vllm import LLM

        register()  # in this process vLLM's own list of plugins (VLLM_PLUGINS) decides nothing
        given = dict(engine_args or {})
        additional = dict(given.pop("additional_config", {}))
        additional[KEY] = {**additional.get(KEY, {}), "slots": slots, "capture": capture}
        given.setdefault("distributed_executor_backend", "uni")
        self._llm: Any = LLM(folder, dtype=dtype, additional_config=additional, **given)
        self._names = (f"mascing-{number}" for number in count())
        self._slots, self._capture, self._resident = slots, capture, dict[str, int]()
        self._is_read = False
        [description] = self._llm.collective_rpc("mascing_spec")
        self.spec = RouterSpec.from_json(description)

    @property
    def max_tokens(self) -> int:
        """The tokens that a prompt and its reply may have together."""
        return int(self._llm.llm_engine.model_config.max_model_len)

    def generate(
        self,
        requests: Sequence[Request],
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        end_ids: Sequence[int] = (),
        stop_strings: Sequence[str] = (),
    ) -> Generator[tuple[int, Generated], None, None]:
        """Yield each request's number and its reply as they are done, all in one continuous batch.

        Only where there are more masks than slots, some masks wait for others. Raises MaskError for a mask of another
        model, and SteeringError if a layer did not steer a token that it had to.
        """
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        def sampling(name: str, each: _Asked) -> SamplingParams:
            return SamplingParams(
                temperature=temperature,
                seed=each.request.seed,
                max_tokens=max_new_tokens,
                ignore_eos=True,
                stop_token_ids=list(end_ids),
                stop=list(stop_strings) or None,
                detokenize=bool(stop_strings),
                output_kind=RequestOutputKind.FINAL_ONLY,
                extra_args=self._arguments(name, each),
                skip_clone=True,  # nobody else has this object
            )

        with self._alone():
            for wave in self._waves(self._asked(requests)):
                self._place(wave)
                for done in self._finished(wave, sampling):
                    steered = self._steered(done)
                    for name, each, output in done:
                        reply = output.outputs[0]
                        cut_off = reply.finish_reason == "length"
                        yield each.number, Generated(list(reply.token_ids), cut_off, steered.get(name, {}))

    def record(
        self, prompts: Sequence[Sequence[int]], mask: Mask | None = None
    ) -> Generator[tuple[int, np.ndarray, np.ndarray], None, None]:
        """Yield each prompt's number, its router logits float32 [T, L, E] and what was selected, int32 [T, L, K].

        The logits are those before the mask, the selection is under it. The prefix cache is not read, since it holds
        no logits. Raises SteeringError if the model was not loaded for that (``capture``).
        """
        if not self._capture:
            raise SteeringError("this model was not loaded to be recorded: load it with capture")
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        def sampling(name: str, each: _Asked) -> SamplingParams:
            arguments = self._arguments(name, each) or {KEY: {"id": name, "slot": 0, "start": 0, "stop": 0}}
            return SamplingParams(
                temperature=0,
                max_tokens=1,
                detokenize=False,
                output_kind=RequestOutputKind.FINAL_ONLY,
                skip_reading_prefix_cache=True,
                extra_args={KEY: {**arguments[KEY], "capture": True}},
            )

        with self._alone():
            rows = self._asked([Request(prompt, mask) for prompt in prompts])
            self._place(rows)
            for done in self._finished(rows, sampling):
                for name, row, _ in done:
                    [[(z_TLE, ids_TLK)]] = self._llm.collective_rpc("mascing_recorded", args=([name],))
                    yield row.number, z_TLE, ids_TLK

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Refuse a second call beside the first: each step of the engine tells it of all replies, and only once."""
        if self._is_read:
            raise SteeringError(
                "an earlier call still replies: read what it yields to the end, or close() its iterator, and call again"
            )
        self._is_read = True
        try:
            yield
        finally:
            self._is_read = False

    def _asked(self, requests: Sequence[Request]) -> list["_Asked"]:
        """The requests with their digests, each made once: it is over the whole of a mask."""
        digests: dict[int, str] = {}
        for number, request in enumerate(requests):
            self._refuse_unreadable(number, request.prompt)
            if id(request.mask) not in digests:
                digests[id(request.mask)] = request.mask.digest if request.mask is not None else ""
        return [_Asked(number, request, digests[id(request.mask)]) for number, request in enumerate(requests)]

    def _refuse_unreadable(self, number: int, prompt: Sequence[int]) -> None:
        if not prompt:
            raise DataError(f"request {number}: its prompt is empty: give at least one token id")
        if len(prompt) >= self.max_tokens:
            raise DataError(
                f"request {number}: its prompt has {len(prompt)} tokens, and with a reply of one the model reads up to "
                f"{self.max_tokens}: shorten it, or load the model with a larger max_model_len"
            )
        vocabulary = int(self._llm.llm_engine.model_config.get_vocab_size())
        foreign = next((token for token in prompt if not 0 <= token < vocabulary), None)
        if foreign is not None:
            raise DataError(f"request {number}: the model has no token {foreign}: its ids are 0 to {vocabulary - 1}")

    def _waves(self, asked: Sequence["_Asked"]) -> Iterator[list["_Asked"]]:
        """The requests in parts that have no more masks than there are slots."""
        wave: list[_Asked] = []
        digests: set[str] = set()
        for each in sorted(asked, key=lambda each: each.digest):
            if each.digest and each.digest not in digests and len(digests) == self._slots:
                yield wave
                wave, digests = [], set()
            wave.append(each)
            digests |= {each.digest} - {""}
        if wave:
            yield wave

    def _place(self, wave: Sequence["_Asked"]) -> None:
        """Have the masks in slots; those that nobody asks for now make room."""
        wanted = {each.digest: each.request.mask for each in wave}
        for digest, mask in wanted.items():
            if mask is None or digest in self._resident:
                continue
            check_fits(mask, self.spec)
            refuse_empty(mask)
            taken = set(self._resident.values())
            slot = next((slot for slot in range(1, self._slots + 1) if slot not in taken), None)
            if slot is None:
                slot = self._resident.pop(next(held for held in self._resident if held not in wanted))
            self._llm.collective_rpc("mascing_write", args=(slot, mask.to_bytes()))
            self._resident[digest] = slot

    def _arguments(self, name: str, each: "_Asked") -> dict[str, Any] | None:
        if not each.digest:
            return None
        slot, span = self._resident[each.digest], each.span
        return {KEY: {"id": name, "slot": slot, "start": span.start, "stop": span.stop}}

    def _add(self, name: str, each: "_Asked", params: Any) -> None:
        prompt: dict[str, Any] = {"prompt_token_ids": list(each.request.prompt)}
        if each.digest:
            prompt["cache_salt"] = cache_salt(each.digest, each.span)
        self._llm.llm_engine.add_request(name, prompt, params)

    def _finished(
        self, asked: Sequence["_Asked"], sampling: Callable[[str, "_Asked"], Any]
    ) -> Iterator[list[tuple[str, "_Asked", Any]]]:
        """Run the requests, and yield those that a step finished, each with its name and reply.

        Whoever stops listening, and an error, gives up the others: none runs on where nobody reads it.
        """
        engine, running = self._llm.llm_engine, dict[str, _Asked]()
        try:
            for each in asked:
                name = next(self._names)
                running[name] = each
                self._add(name, each, sampling(name, each))
            while running:
                done = [each for each in engine.step() if each.finished and each.request_id in running]
                yield [(each.request_id, running.pop(each.request_id), each) for each in done]
        finally:
            if running:
                engine.abort_request(sorted(running))

    def _steered(self, done: Sequence[tuple[str, "_Asked", Any]]) -> dict[str, dict[int, int]]:
        """Tokens steered by layer, of each reply under a mask. Raises SteeringError if a layer lacks any.

        The worker is asked once for all, since on a GPU that waits for the device.
        """
        routed = {name: each.routed(output) for name, each, output in done if each.digest}
        if not routed:
            return {}
        [proofs] = self._llm.collective_rpc("mascing_proof", args=(routed,))
        steered = {name: Steered.least([proofs[name]]) for name in routed}
        for name, each, _ in done:
            if each.request.mask is not None:
                check(each.request.mask, steered[name], each.span, routed[name])
        return {name: dict(of_reply.by_layer) for name, of_reply in steered.items()}


def cache_salt(digest: str, span: Span) -> str:
    """What keeps the prefix cache of one mask, and of one choice of tokens, from all others.

    Positions count, not the choice: what is a reply here is a part of the prompt in the next turn.
    """
    positions = "" if span == Span(0, None) else f":{span.start}-{'' if span.stop is None else span.stop}"
    return f"mascing:{digest}{positions}"


@dataclass(frozen=True)
class _Asked:
    """A request with its number, and the digest of its mask, "" for none."""

    number: int
    request: Request
    digest: str

    @property
    def span(self) -> Span:
        return Choice(tokens=self.request.tokens).span(len(self.request.prompt))

    def routed(self, output: Any) -> int:
        """The tokens of prompt and reply that went through the model; the last token of a reply never does."""
        return len(self.request.prompt) + len(output.outputs[0].token_ids) - 1
