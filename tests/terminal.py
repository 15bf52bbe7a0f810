"""A program at a pseudo-terminal of a given size: what it draws, and keys that are typed at it."""

import os
import pty
import select
import termios
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic

import pyte


class Terminal:
    """A running program and its screen. ``text`` is everything that it wrote, control sequences included."""

    def __init__(self, pid: int, descriptor: int, columns: int, rows: int) -> None:
        self.pid = pid
        self.text = ""
        self._descriptor = descriptor
        self._screen = pyte.HistoryScreen(columns, rows, history=1000)
        self._stream = pyte.Stream(self._screen)
        self._open = True

    @property
    def lines(self) -> list[str]:
        """The lines that the screen shows now, without the empty ones."""
        return [line.rstrip() for line in self._screen.display if line.strip()]

    @property
    def scrolled(self) -> list[str]:
        """The lines that scrolled off the screen, then those that it shows."""
        columns = range(self._screen.columns)
        above = ["".join(line[column].data for column in columns).rstrip() for line in self._screen.history.top]
        return [line for line in above if line] + self.lines

    def type(self, keys: str) -> None:
        """Send keys as if they were typed; ``\\x03`` is Ctrl-C."""
        os.write(self._descriptor, keys.encode())

    def widen(self, columns: int) -> None:
        """Make the window wider, as somebody does who drags its edge."""
        termios.tcsetwinsize(self._descriptor, (self._screen.lines, columns))
        self._screen.resize(columns=columns)

    def watch(self, seen: Callable[["Terminal"], bool], seconds: float) -> bool:
        """Draw what the program writes until ``seen`` holds, the program ends or the time is over; whether it held."""
        deadline = monotonic() + seconds
        while not seen(self):
            if not self._open or monotonic() > deadline:
                return False
            self._read()
        return True

    def wait(self, seconds: float) -> int:
        """The exit code of the program, which draws to its end; fails if it takes longer."""
        self.watch(lambda _: False, seconds)
        assert not self._open, f"still running after {seconds} s: {self.lines}"
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _read(self) -> None:
        if not select.select([self._descriptor], [], [], 0.1)[0]:
            return
        try:
            data = os.read(self._descriptor, 65536)
        except OSError:  # Linux says so when the program's end of the terminal is closed
            data = b""
        self._open = bool(data)
        text = data.decode(errors="replace")
        self.text += text
        self._stream.feed(text)


@contextmanager
def at_terminal(
    command: Sequence[str], columns: int, environment: Mapping[str, str], rows: int = 40
) -> Iterator[Terminal]:
    """Start ``command`` as the foreground of a new terminal; at the end of the block the program is killed."""
    pid, descriptor = pty.fork()
    if pid == 0:
        termios.tcsetwinsize(0, (rows, columns))
        os.execvpe(command[0], list(command), dict(environment))
    terminal = Terminal(pid, descriptor, columns, rows)
    try:
        yield terminal
    finally:
        os.close(descriptor)  # hangs up: the program and its children get SIGHUP
