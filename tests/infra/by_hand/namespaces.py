"""Hosts on one Linux machine: network namespaces on one switch, with processes, /tmp/ray and /dev/shm of their own."""

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

_SWITCH = "mascing-switch"
_NET = "10.77.0"
_HOSTS = Path("/etc/netns")


class Host:
    """One host, known to the others by its name."""

    def __init__(self, name: str, address: str, folder: Path) -> None:
        self.name = name
        self.address = address
        self.log = folder / f"{name}.log"
        self._home = folder / name

    @property
    def space(self) -> str:
        """Name of its network namespace."""
        return f"mascing-{self.name}"

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        """Start a command under a first process that hands it SIGTERM, as a container's init does.

        All processes of the host end with the first. The output goes to ``log``.
        """
        own = "mkdir -p /tmp/ray && mount -t tmpfs tmpfs /tmp/ray && mount -t tmpfs tmpfs /dev/shm"
        init = (
            f"{{ {shlex.join(command)} & child=$!; trap 'kill -TERM $child' TERM; wait $child; code=$?;"
            " while kill -0 $child 2>/dev/null; do wait $child; code=$?; done; exit $code; }"
        )
        isolated = ["unshare", "-mpf", "--mount-proc", "--kill-child", "bash", "-c"]
        self._home.mkdir(exist_ok=True)
        with self.log.open("ab") as out:
            return subprocess.Popen(
                ["ip", "netns", "exec", self.space, *isolated, f"{own} && {init}"],
                env={**environment, "HOME": str(self._home)},
                cwd=self._home,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def inside(
        self, process: "subprocess.Popen[bytes]", command: Sequence[str], environment: Mapping[str, str], seconds: float
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command among the processes of a host that was started, as `docker exec` does."""
        entered = ["nsenter", "--target", _first(process), "--mount", "--pid", "--net", *command]
        return subprocess.run(
            entered, env={**environment, "HOME": str(self._home)}, capture_output=True, text=True, timeout=seconds
        )

    def ask(
        self, command: Sequence[str], environment: Mapping[str, str], seconds: float
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command in the host's network alone, as a health check does."""
        return subprocess.run(
            ["ip", "netns", "exec", self.space, *command],
            env=dict(environment),
            capture_output=True,
            text=True,
            timeout=seconds,
        )


@contextmanager
def hosts(names: Sequence[str], folder: Path) -> Iterator[dict[str, Host]]:
    """Hosts of these names that see one another and nothing else; homes and logs are in ``folder``.

    Needs root and iproute2.
    """
    made = {name: Host(name, f"{_NET}.{number}", folder) for number, name in enumerate(names, start=10)}
    table = "127.0.0.1 localhost\n" + "".join(f"{host.address} {host.name}\n" for host in made.values())
    try:
        _ip("netns", "add", _SWITCH)
        _ip("-n", _SWITCH, "link", "add", "switch", "type", "bridge")
        _ip("-n", _SWITCH, "link", "set", "switch", "up")
        for host in made.values():
            _plug(host, table)
        yield made
    finally:
        for space in [_SWITCH, *(host.space for host in made.values())]:
            subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True)
            shutil.rmtree(_HOSTS / space, ignore_errors=True)


def stop(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    """Ask a host's command to end, as `docker stop` does. Raises TimeoutExpired if it takes longer."""
    if process.poll() is None:
        os.kill(int(_first(process)), signal.SIGTERM)
        process.wait(seconds)


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a host's processes at once."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _first(process: "subprocess.Popen[bytes]") -> str:
    """The number that this machine gives to the first process of a host."""
    [first] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return first


def _plug(host: Host, table: str) -> None:
    """Connect a new namespace to the switch."""
    space = host.space
    port = f"p{host.address.rpartition('.')[2]}"
    (_HOSTS / space).mkdir(parents=True, exist_ok=True)
    (_HOSTS / space / "hosts").write_text(table)
    _ip("netns", "add", space)
    _ip("link", "add", "eth0", "netns", space, "type", "veth", "peer", "name", port, "netns", _SWITCH)
    _ip("-n", _SWITCH, "link", "set", port, "master", "switch", "up")
    _ip("-n", space, "addr", "add", f"{host.address}/24", "dev", "eth0")
    for link in ("lo", "eth0"):
        _ip("-n", space, "link", "set", link, "up")
    # It leads nowhere, but programs ask it which address is their own.
    _ip("-n", space, "route", "add", "default", "via", f"{_NET}.1")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
