"""Torture rounds: a program is injured at a random point, started again until it ends well, and checked."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from random import Random
from time import monotonic, sleep
from typing import Any

from mascing.storage.object_storage import Storage
from tests.torture.rounds.flips import Flip, flip, follow
from tests.torture.rounds.injuries import INJURIES, Injury
from tests.torture.rounds.programs import WORKERS, Program, programs, stage_of
from tests.torture.rounds.soundness import faults
from tests.torture.rounds.start import Start
from tests.torture.rounds.surroundings import Around, Servers, servers

STARTS = 6
"""How often a program is started until it ends well."""
PATIENCE_SECONDS = 360.0
"""How long a start may take before it is called hung."""
_LONGEST_WAIT_SECONDS = 2.0


@dataclass
class Round:
    """What happened in a round; it is sound if ``faults`` is empty."""

    number: int
    program: str
    injury: str
    storage: str
    shared: bool
    workers: int
    stage: str = "never"
    starts: int = 0
    seconds: float = 0.0
    storage_faults: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        verdict = "; ".join(self.faults) or "sound"
        servers = "shared servers" if self.shared else "servers of its own"
        return (
            f"round {self.number}: {self.program} with {self.workers} workers on {self.storage}, {servers}: "
            f"{self.injury} at {self.stage}, {self.storage_faults} storage faults, {self.starts} starts, "
            f"{self.seconds:.0f} s: {verdict}"
        )


def torture(
    folder: Path, testbed: Path, rounds: int, seed: int, seconds: float = inf, only: str = "", program: str = ""
) -> list[Round]:
    """Do the rounds, and print each; they are the same for the same seed, but for the exact moment of the injury.

    ``only`` and ``program`` hold them to injuries and to the program whose names hold it.
    """
    ready = [
        _undisturbed(each, Around(str(each.undisturbed)), folder)
        for each in programs(testbed, folder)
        if program in each.name
    ]
    injuries = [injury for injury in INJURIES if only in injury.name]
    deadline, done = monotonic() + seconds, list[Round]()
    with servers(folder) as around:
        for number in range(rounds):
            if monotonic() > deadline:
                break
            drawn = Random(f"{seed}-{number}")
            done.append(_round(number, drawn, ready[number % len(ready)], drawn.choice(injuries), folder, around))
            print(done[-1], flush=True)
    return done


def summary(rounds: Sequence[Round]) -> dict[str, Any]:
    """How many rounds were sound, in all and by injury and storage, and what was wrong with the others."""
    bad = [str(each) for each in rounds if each.faults]
    kinds = Counter((each.injury, each.storage) for each in rounds)
    sound = Counter((each.injury, each.storage) for each in rounds if not each.faults)
    return {
        "rounds": len(rounds),
        "sound": len(rounds) - len(bad),
        "not injured": sum(each.stage == "never" for each in rounds),
        "storage faults": sum(each.storage_faults for each in rounds),
        "starts": sum(each.starts for each in rounds),
        "seconds": round(sum(each.seconds for each in rounds)),
        "sound by injury and storage": {
            f"{injury}, {storage}": f"{sound[injury, storage]} of {count}"
            for (injury, storage), count in sorted(kinds.items())
        },
        "not sound": bad,
    }


def _undisturbed(program: Program, around: Around, folder: Path) -> Program:
    """The program with what it says when nothing happens to it."""
    start = Start(program.arguments[2], around, folder / f"{program.name}.txt")
    start.wait(inf)
    assert start.process.returncode == 0, start.lines
    return program.after(start.lines)


def _round(number: int, drawn: Random, program: Program, injury: Injury, folder: Path, servers: Servers) -> Round:
    storage = "s3" if injury.storage == "s3" else drawn.choice(("disk", "s3"))
    shared = drawn.choice((True, False)) if injury.servers == "any" else injury.servers == "shared"
    told = Round(number, program.name, injury.name, storage, shared, drawn.choice(WORKERS))
    (folder / f"round-{number}").mkdir()
    around = servers.around(number, storage, shared, drawn)
    began = monotonic()
    _torture(told, drawn, program, injury, folder / f"round-{number}", around)
    told.seconds = monotonic() - began
    if storage == "s3":
        told.storage_faults = servers.s3.faults.made.total()
    return told


def _torture(told: Round, drawn: Random, program: Program, injury: Injury, folder: Path, around: Around) -> None:
    flipped: Flip | None = None
    treated: Flip | None = None
    for told.starts in range(1, STARTS + 1):
        start = Start(program.arguments[told.workers], around, folder / f"start-{told.starts}.txt")
        if told.starts == 1:
            _injure(told, drawn, start, program.moment(drawn), injury, around)
        told.faults += start.ended(PATIENCE_SECONDS)
        storage = Storage.open(around.storage)
        if told.starts == 1 and injury.flips:
            flipped = flip(storage, drawn)
            continue
        if flipped is not None:
            told.faults += flipped.treated(storage, start.process.returncode, start.last)
            flipped, treated = None, flipped
            continue
        if start.process.returncode == 0:
            told.faults += faults(storage, Storage.open(str(program.undisturbed)))
            return
        if treated is not None:  # what was deleted may be missed by others, which say what to do
            follow(storage, start.last, treated.name)
    told.faults.append(f"does not end well in {STARTS} starts: {start.last}")


def _injure(told: Round, drawn: Random, start: Start, moment: int, injury: Injury, around: Around) -> None:
    """Injure the run after it has said ``moment`` lines and a little later, once what is injured is there."""
    start.wait(PATIENCE_SECONDS, moment)
    sleep(drawn.uniform(0, _LONGEST_WAIT_SECONDS))
    while start.process.poll() is None:
        stage = next(filter(None, map(stage_of, reversed(start.lines))), "starting")
        if (processes := start.see()) and injury.do(processes, around, drawn):
            told.stage = stage
            return
        sleep(0.05)
