"""Several hosts on one machine: network namespaces, each with a card of its own, joined by a bridge."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

CARD = "eth0"


def ip(*words: str) -> str:
    """What a command of iproute2 prints; its complaint is an OSError."""
    run = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)  # noqa: S607 (where the system has it)
    if run.returncode:
        raise OSError(f"ip {' '.join(words)}: {run.stderr.strip()}")
    return run.stdout


def why_not() -> str:
    """Why there can be no network namespaces here, or an empty string."""
    if shutil.which("ip") is None:
        return "needs the command ip (iproute2)"
    try:
        with network(1):
            return ""
    except OSError as error:
        return f"needs network namespaces: {error}"


@dataclass(frozen=True)
class Host:
    """One of them."""

    space: str
    address: str
    number: int

    def member(self) -> int:
        """The process that trains here, once there is one; 0 before."""
        for process in ip("netns", "pids", self.space).split():
            with suppress(FileNotFoundError, ProcessLookupError):  # it just ended
                if b"\0RANK=" in Path(f"/proc/{process}/environ").read_bytes():
                    return int(process)
        return 0

    def unplug(self) -> None:
        """Nothing goes out or comes in any more, and nobody is told."""
        ip("-n", self.space, "link", "set", CARD, "down")

    def torchrun(self, hosts: int, log: Path, *arguments: Any, restarts: int = 0) -> subprocess.Popen[bytes]:
        """Start ``gossamer train`` here as one of several hosts would; all that it says goes into a file."""
        words = ["--nnodes", hosts, "--nproc-per-node", 1, "--max-restarts", restarts]
        words += ["--rdzv-backend", "c10d", "--rdzv-id", "test", "--rdzv-endpoint", "10.77.0.1:29400"]
        # Said in so many words, for all hosts here have the same name.
        words += ["--rdzv-conf", f"is_host={int(self.number == 0)}", "--local-addr", self.address]
        words += ["-m", "gossamer", "train", *arguments]
        inside = ["ip", "netns", "exec", self.space, sys.executable, "-m", "torch.distributed.run"]
        variables = os.environ | {"GLOO_SOCKET_IFNAME": CARD, "OMP_NUM_THREADS": "1"}
        with log.open("wb") as file:
            return subprocess.Popen(
                [*inside, *map(str, words)], stdout=file, stderr=subprocess.STDOUT, env=variables
            )


@contextmanager
def network(count: int) -> Iterator[list[Host]]:
    """Hosts 10.77.0.1, 10.77.0.2, ... that reach each other only; gone at the end, with all that runs there."""
    name = f"gossamer-{os.getpid()}"
    switch, hosts = f"{name}-switch", [Host(f"{name}-{n}", f"10.77.0.{n + 1}", n) for n in range(count)]
    try:
        ip("netns", "add", switch)
        ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        ip("-n", switch, "link", "set", "bridge", "up")
        for host in hosts:
            port = f"port{host.number}"
            ip("netns", "add", host.space)
            ip("-n", switch, "link", "add", port, "type", "veth", "peer", "name", CARD, "netns", host.space)
            ip("-n", switch, "link", "set", port, "master", "bridge", "up")
            ip("-n", host.space, "address", "add", f"{host.address}/24", "dev", CARD)
            for card in ("lo", CARD):
                ip("-n", host.space, "link", "set", card, "up")
        yield hosts
    finally:
        for space in {switch, *(host.space for host in hosts)} & set(ip("netns", "list").split()):
            for process in ip("netns", "pids", space).split():
                os.kill(int(process), signal.SIGKILL)
            ip("netns", "delete", space)
