"""Put this folder on PYTHONPATH, and Ray's workers note in COUNTED the replies that they generate and the verdicts.

Python imports it at start; it wraps two functions of mascing once their modules are imported. A line is one write to a
file opened for appending, so processes do not mix.
"""

import builtins
import os
import sys

_imported = builtins.__import__
_WRAPPED: set[str] = set()


def _note(kind: str, keys: list[str]) -> None:
    with open(os.environ["COUNTED"], "ab", buffering=0) as file:
        file.write("".join(f"{kind} {key}\n" for key in keys).encode())


def _wrap_replies(module: object) -> None:
    made = module.generated  # type: ignore[attr-defined]

    def generated(worker, config, turns):  # type: ignore[no-untyped-def]
        replies = made(worker, config, turns)
        settings = f"{config.model.path} {config.generation.temperature}"
        named = [(row, "unsteered" if mask is None else mask.digest) for row, mask in turns]
        _note("reply", [f"{settings} {under} {module.content_of(row)}" for row, under in named])  # type: ignore[attr-defined]
        return replies

    module.generated = generated  # type: ignore[attr-defined]


def _wrap_judging(module: object) -> None:
    made = module.judge_all  # type: ignore[attr-defined]

    def judge_all(behaviour, conversations, replies, *storage):  # type: ignore[no-untyped-def]
        verdicts = made(behaviour, conversations, replies, *storage)
        _note("verdict", [f"{behaviour.name} {row.id}" for row in conversations])
        return verdicts

    module.judge_all = judge_all  # type: ignore[attr-defined]


_HOOKS = {"mascing.tasks.replying.replies": _wrap_replies, "mascing.judges.judging": _wrap_judging}


def _import(name, *rest, **options):  # type: ignore[no-untyped-def]
    found = _imported(name, *rest, **options)
    for module, wrap in _HOOKS.items():
        loaded = sys.modules.get(module)
        spec = getattr(loaded, "__spec__", None)
        if loaded is not None and module not in _WRAPPED and not getattr(spec, "_initializing", True):
            _WRAPPED.add(module)
            wrap(loaded)
    if len(_WRAPPED) == len(_HOOKS):
        builtins.__import__ = _imported
    return found


if "COUNTED" in os.environ and any("default_worker" in part for part in sys.orig_argv):
    builtins.__import__ = _import
