"""A program under `stoppable` ends within seconds of a signal, however badly its block behaves."""

import signal
import subprocess
import sys
from time import monotonic

import psutil
import pytest

from mascing.commands.surroundings.stopping import FAILED, PATIENCE_SECONDS, STOPPED
from tests.starting import ctrl_c

PROGRAM = """
import subprocess, sys, time
from mascing.commands.surroundings.stopping import stoppable

sleeping = [sys.executable, "-c", "import time; time.sleep(600)"]
child = subprocess.Popen(sleeping, stdout=subprocess.DEVNULL, start_new_session=True)
with stoppable(lambda: print("stopped", flush=True)):
    begun = False
    while True:
        try:
            if not begun:
                begun = True
                print(child.pid, flush=True)
            time.sleep(600)
        except KeyboardInterrupt:
            print("lost", flush=True)
            {then}
"""


def start(then: str, interrupt: signal.Handlers = signal.SIG_DFL) -> tuple["subprocess.Popen[str]", psutil.Process]:
    """A program that runs ``then`` when it is interrupted, and its child process."""
    with ctrl_c(interrupt):
        program = subprocess.Popen([sys.executable, "-c", PROGRAM.format(then=then)], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    return program, psutil.Process(int(program.stdout.readline()))


def rest(program: "subprocess.Popen[str]") -> list[str]:
    return program.communicate(timeout=PATIENCE_SECONDS + 10)[0].splitlines()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_lost_interrupt_still_ends_the_program_with_its_children(number: signal.Signals) -> None:
    program, child = start("pass")
    begun = monotonic()
    program.send_signal(number)

    assert rest(program) == ["lost", "stopped"]
    assert program.returncode == STOPPED
    assert monotonic() - begun < PATIENCE_SECONDS + 3
    child.wait(timeout=5)


def test_a_second_signal_ends_the_program_at_once() -> None:
    program, child = start("pass")
    assert program.stdout is not None
    begun = monotonic()
    program.send_signal(signal.SIGINT)
    assert program.stdout.readline() == "lost\n"
    program.send_signal(signal.SIGINT)

    assert rest(program) == ["stopped"]
    assert program.returncode == STOPPED
    assert monotonic() - begun < PATIENCE_SECONDS
    child.wait(timeout=5)


def test_a_signal_that_comes_while_a_stopped_program_exits_still_ends_its_children() -> None:
    program, child = start("import atexit; atexit.register(time.sleep, 600); raise")
    assert program.stdout is not None
    program.send_signal(signal.SIGTERM)
    assert [program.stdout.readline() for _ in range(2)] == ["lost\n", "stopped\n"]
    program.send_signal(signal.SIGTERM)

    assert rest(program) == []
    assert program.returncode == STOPPED
    child.wait(timeout=5)


def test_a_program_that_ignored_the_interrupt_goes_on_ignoring_it() -> None:
    program, child = start("raise", signal.SIG_IGN)
    program.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        program.wait(timeout=1)
    program.send_signal(signal.SIGTERM)

    assert rest(program) == ["lost", "stopped"]
    child.kill()


ENDING = """
import os, sys, time
from mascing.commands.surroundings.stopping import stoppable

try:
    with stoppable(lambda: print("stopped", flush=True)):
        os.write(2, b"before\\n")
        try:
            print("ready", flush=True)
            time.sleep(600)
        except KeyboardInterrupt:
            os.write(2, b"E task_manager.cc: Failed to push error to driver\\n")
            {then}
finally:
    os.write(2, b"after\\n")
"""


@pytest.mark.parametrize(("then", "said"), [("raise", ["stopped"]), ("raise ValueError('lost')", [])])
def test_native_code_that_complains_while_a_run_closes_is_not_heard(then: str, said: list[str]) -> None:
    program = [sys.executable, "-c", ENDING.format(then=then)]
    with ctrl_c(signal.SIG_DFL):
        ending = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert ending.stdout is not None
    assert ending.stdout.readline() == "ready\n"
    ending.send_signal(signal.SIGINT)
    out, complaints = ending.communicate(timeout=PATIENCE_SECONDS + 10)

    assert out.splitlines() == said
    assert complaints.startswith("before\nafter\n")
    assert ("ValueError: lost" in complaints) == (not said)  # an error of the run itself is told


FAILING = """
import signal, sys, threading, time
from mascing.commands.surroundings.stopping import stoppable

with stoppable(lambda: print("stopped", flush=True)) as fail:
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))  # as Ray does
    threading.Timer(0.1, fail, [lambda: print("why", flush=True)]).start()
    while True:
        try:
            time.sleep(600)
        except KeyboardInterrupt:
            {then}
"""


@pytest.mark.parametrize(("then", "interrupt"), [("pass", signal.SIG_DFL), ("raise", signal.SIG_IGN)])
def test_another_thread_ends_the_program_with_its_own_words(then: str, interrupt: signal.Handlers) -> None:
    with ctrl_c(interrupt):
        program = subprocess.run([sys.executable, "-c", FAILING.format(then=then)], stdout=subprocess.PIPE, text=True)
    assert program.stdout.splitlines() == ["why"]
    assert program.returncode == FAILED
