"""Several "machines" on one host, each with namespaces of its own, to run real raylets on.

A machine has its own network, process ids, host name, shared memory and file systems on /tmp and
/root; the folder of this project is empty there unless it is asked for. Only the environment
(Python and the packages) is common. Cables between them can be pulled. Needs root.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = Path(sys.prefix).resolve()
PYTHON = ENVIRONMENT / "bin" / "python"
HERE, PY = shlex.quote(str(ROOT)), shlex.quote(str(PYTHON))  # for a shell
# What `ls -A` says of the project's place on a machine that has nothing of it: the environment may
# lie there.
INSIDE = ENVIRONMENT.relative_to(ROOT).parts[:1] if ENVIRONMENT.is_relative_to(ROOT) else ()
EMPTY = [f"{ROOT}:", *INSIDE]
PORT, DASHBOARD = 6399, 8265
# The Python of a head that takes jobs: it has more packages (`make test-cluster` makes it).
HEAD_ENVIRONMENT = ROOT / ".head-venv"

# What the first process of a machine does; it says "up" once all is in place.
_INIT = """
set -e
mount --make-rprivate /
hold=/mnt
mount -t tmpfs tmpfs $hold
mkdir $hold/environment $hold/project $hold/more
if [ -n "$COMPILED" ]; then cp -rp "$COMPILED" $hold/compiled; fi
mount --bind "$ENVIRONMENT" $hold/environment
mount --bind "$PROJECT" $hold/project
if [ -n "$MORE" ]; then mount --bind "$MORE" $hold/more; fi
mount -t tmpfs -o size=2g tmpfs /tmp
mount -t tmpfs -o size=2g tmpfs /dev/shm
if [ -n "$COMPILED" ]; then
  mkdir -p -m 700 /tmp/recsearch-0
  cp -rp $hold/compiled "/tmp/recsearch-0/${COMPILED##*/}"
fi
mkdir -p "$PROJECT"
mount -t tmpfs tmpfs "$PROJECT"
if [ "$HAS_PROJECT" = 1 ]; then mount --bind $hold/project "$PROJECT"; fi
if [ -n "$MORE" ] && [ ! -e "$MORE/bin/python" ]; then
  mkdir -p "$MORE"
  mount --bind $hold/more "$MORE"
fi
if [ ! -e "$ENVIRONMENT/bin/python" ]; then
  mkdir -p "$ENVIRONMENT"
  mount --bind $hold/environment "$ENVIRONMENT"
fi
umount $hold/environment $hold/project
if [ -n "$MORE" ]; then umount $hold/more; fi
umount $hold
hostname "$NAME"
echo up
exec sleep infinity
"""
# What making a machine needs, tried where nothing of it stays.
_TRIED = """
ip netns list
nsenter --version
setpriv --version
mount -t tmpfs tmpfs /mnt
ip link add br0 type bridge
ip link add eth0 type veth peer name p0
"""


def missing() -> str | None:
    """Why no machines can be made here, if they can't."""
    if os.geteuid() != 0:
        return "needs root for namespaces"
    if " " in str(ENVIRONMENT):
        return "needs an environment without a blank in its path: raylets there start no workers"
    tried = [
        "unshare",
        "--mount",
        "--net",
        "--uts",
        "--ipc",
        "--pid",
        "--fork",
        "sh",
        "-ec",
        _TRIED,
    ]
    try:
        subprocess.run(tried, check=True, capture_output=True, text=True, timeout=20)
    except subprocess.CalledProcessError as error:
        return f"needs network and mount namespaces, and iproute2 ({error.stderr.strip()})"
    except (OSError, subprocess.SubprocessError) as error:
        return f"needs network and mount namespaces ({error})"
    return None


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@dataclass
class Machine:
    """One machine; `outer` ends it, `pid` (of its first process, as the host sees it) enters it."""

    name: str
    address: str
    network: str
    outer: subprocess.Popen[str]
    pid: int

    def command(self, line: str, env: Mapping[str, str] | None = None) -> list[str]:
        """The words that run a line of shell there."""
        known = {
            "HOME": "/tmp",
            "LANG": "C.UTF-8",
            "PATH": f"{ENVIRONMENT}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
            "RAY_worker_niceness": "0",  # beside busy processes workers would crawl
        } | dict(env or {})
        words = [f"{name}={value}" for name, value in known.items()]
        enter = ["nsenter", "-t", str(self.pid), "-m", "-u", "-i", "-n", "-p"]
        return [*enter, "env", "-i", *words, "bash", "-c", f"cd /tmp && {line}"]

    def run(
        self, line: str, env: Mapping[str, str] | None = None, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """Run a line there to its end."""
        return subprocess.run(
            self.command(line, env), capture_output=True, text=True, timeout=timeout
        )

    def start(self, line: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a line there; its output is one stream."""
        return subprocess.Popen(
            self.command(line, env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def path(self, there: str) -> Path:
        """An absolute path of this machine, as the host reaches it."""
        return Path(f"/proc/{self.pid}/root{there}")

    def processes(self, title: str) -> list[int]:
        """This machine's processes whose title begins so, by the host's ids."""
        mine = Path(f"/proc/{self.pid}/ns/pid").readlink()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended meanwhile
                begins = (folder / "cmdline").read_bytes().startswith(title.encode())
                if begins and (folder / "ns/pid").readlink() == mine:
                    found.append(int(folder.name))
        return found

    def halt(self, title: str, still: Callable[[], bool] = lambda: True) -> bool:
        """Stop a process whose title begins so; whether there was one. It goes on where its title,
        or what `still` asks, has changed by then.
        """
        for pid in self.processes(title):
            with suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(pid, signal.SIGSTOP)
                if pid in self.processes(title) and still():
                    return True
                os.kill(pid, signal.SIGCONT)
        return False

    def ray(
        self, *options: str, env: Mapping[str, str] | None = None, python: Path = PYTHON
    ) -> None:
        """`ray start` with a raylet that has a small object store."""
        words = ["start", f"--node-ip-address={self.address}", "--object-store-memory=90000000"]
        done = self.run(
            shlex.join([str(python), "-m", "ray.scripts.scripts", *words, *options]), env
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def end(self) -> None:
        """Pull the plug."""
        self.outer.kill()
        self.outer.wait()


class Machines:
    """Machines that see each other over one switch; use as a context manager."""

    def __init__(self, compiled: Path | None = None) -> None:
        """compiled: a folder of compiled kernels that each machine gets a copy of; None: they
        compile for themselves, a minute each.
        """
        self.tag = f"rs{os.getpid()}"
        self.compiled = compiled
        self.all: dict[str, Machine] = {}

    def __enter__(self) -> Machines:
        _ip("netns", "add", self._net("switch"))
        switch = ("-n", self._net("switch"), "link")
        _ip(*switch, "set", "lo", "up")
        _ip(*switch, "add", "br0", "type", "bridge")
        _ip(*switch, "set", "br0", "up")
        return self

    def __exit__(self, *_: object) -> None:
        for machine in self.all.values():
            machine.end()
        for name in (*self.all, "switch"):
            subprocess.run(["ip", "netns", "del", self._net(name)], capture_output=True)

    def _net(self, name: str) -> str:
        return f"{self.tag}-{name}"

    def add(self, name: str, *, project: bool = False, more: Path | None = None) -> Machine:
        """A new machine on the switch. `project`: whether it sees this checkout; `more`: another
        environment that it sees.
        """
        net, switch = self._net(name), self._net("switch")
        address = f"10.77.0.{len(self.all) + 1}"
        _ip("netns", "add", net)
        _ip("-n", net, "link", "set", "lo", "up")
        pair = ("netns", net, "type", "veth", "peer", "name", f"p-{name}", "netns", switch)
        _ip("link", "add", "name", "eth0", *pair)
        _ip("-n", switch, "link", "set", f"p-{name}", "master", "br0", "up")
        _ip("-n", net, "addr", "add", f"{address}/24", "dev", "eth0")
        _ip("-n", net, "link", "set", "eth0", "up")
        apart = ["--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]
        env = {"ENVIRONMENT": str(ENVIRONMENT), "PROJECT": str(ROOT), "NAME": name}
        env |= {"MORE": str(more or ""), "COMPILED": str(self.compiled or "")}
        with_us = ["setpriv", "--pdeathsig", "KILL"]  # tests that are killed leave no machines
        outer = subprocess.Popen(
            ["ip", "netns", "exec", net, *with_us, "unshare", *apart, "bash", "-c", _INIT],
            env=os.environ | env | {"HAS_PROJECT": str(int(project))},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert outer.stdout is not None
        said = outer.stdout.readline()
        assert said == "up\n", said + outer.stdout.read()
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
        self.all[name] = Machine(name, address, net, outer, int(children[0]))
        return self.all[name]

    def only(self, name: str, server: Machine, port: int) -> None:
        """From now on a machine reaches nothing on the switch but this port of `server`."""
        rules = ("-n", self._net(name), "rule", "add", "to")
        there = (server.address, "ipproto", "tcp", "dport", str(port))
        _ip(*rules, *there, "lookup", "main", "pref", "10")
        _ip(*rules, "10.77.0.0/24", "prohibit", "pref", "20")

    def default_route(self, name: str) -> None:
        """A machine takes every address for one that it reaches over the switch."""
        _ip("-n", self._net(name), "route", "add", "default", "dev", "eth0")

    def cable(self, name: str, state: str) -> None:
        """Pull the cable of a machine (`down`), or put it back (`up`)."""
        _ip("-n", self._net("switch"), "link", "set", f"p-{name}", state)
