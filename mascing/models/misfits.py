"""What of a checkpoint does not fit its config.json, in words: transformers logs it, and its errors do not say it."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

LOADING = {"output_loading_info": True, "ignore_mismatched_sizes": True}
"""Options of ``from_pretrained`` by which it returns what :func:`misfits` reads, and raises no error that says less."""


def misfits(report: Mapping[str, Any], made: Collection[str] = ()) -> str | None:
    """How many parameters are missing or of another shape, and the first of them; None if all fit.

    Transformers would use random numbers for them. ``made`` are those that the caller makes itself.
    """
    missing = [name for name in report["missing_keys"] if name not in made]
    shaped = [
        f"{name}, {_size(held)} where config.json says {_size(wanted)}"
        for name, held, wanted in report["mismatched_keys"]
    ]
    unfit = [*sorted(shaped), *sorted(missing)]
    return f"{len(unfit)} parameters are missing or of another shape, first {unfit[0]}" if unfit else None


def failed_conversion(error: BaseException) -> str | None:
    """The first parameter that could not be made of the checkpoint's tensors, and why; None if that is not the error.

    Transformers makes one tensor of those of all experts.
    """
    trace = error.__traceback__
    while trace is not None:
        failed = getattr(trace.tb_frame.f_locals.get("loading_info"), "conversion_errors", None)
        if failed:
            name, said = min(failed.items())
            return f"{name}: {_last_error(said)}"
        trace = trace.tb_next
    return None


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _last_error(traceback: str) -> str:
    lines = [line for line in traceback.splitlines() if re.match(r"\w+Error: ", line)]
    return lines[-1] if lines else " ".join(traceback.split())[-300:]
