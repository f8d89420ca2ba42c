"""`cluster/ray-cluster.yaml` as it is, on machines that are reached by ssh alone.

Only the addresses are filled in, and the environment is a link to ours in place of what pip would
fetch: these machines reach no package index.
"""

from __future__ import annotations

import re
import shutil

import pytest

from tests.cluster.machines import ENVIRONMENT, HERE, ROOT, Machine, Machines
from tests.cluster.searching import LONG_S, MARKS, trials_on, wait

MISSING = [name for name in ("ssh", "sshd", "rsync") if shutil.which(name) is None]
pytestmark = [
    *MARKS,
    pytest.mark.skipif(
        bool(MISSING), reason=f"needs {', '.join(MISSING)}: see `make test-cluster`"
    ),
]
HOME = {"HOME": "/tmp/home", "TERM": "xterm"}
# The user of the file, whose home is this machine's own, as /root is that of the host.
PASSWD = r"ubuntu:x:0:0::/tmp/home:/bin/bash\nsshd:x:101:65534::/run/sshd:/usr/sbin/nologin\n"
USER = f"""
set -e
mkdir -p /tmp/home/.ssh /tmp/ssh
printf '{PASSWD}' >/tmp/ssh/passwd
mount --bind /tmp/ssh/passwd /etc/passwd
mount -t tmpfs tmpfs /run
mkdir -p /run/sshd
ssh-keygen -q -t ed25519 -N '' -f /tmp/ssh/key
"""
SSHD = "/usr/sbin/sshd -h /tmp/ssh/key -o PidFile=none -o UsePAM=no -o StrictModes=no"


def done(machine: Machine, line: str) -> str:
    """What a line of shell says there; it has to end well."""
    ended = machine.run(line, HOME, timeout=LONG_S)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def with_user(machines: Machines, name: str, *, project: bool = False) -> Machine:
    """A machine with the user of the file, which finds its own address over its default route."""
    machine = machines.add(name, project=project)
    machines.default_route(name)
    done(machine, USER)
    return machine


def filled_in(head: Machine, worker: Machine) -> str:
    """The file of the project for these two."""
    text = (ROOT / "cluster" / "ray-cluster.yaml").read_text()
    for what, by in (
        ("HEAD_ADDRESS", head.address),
        (r"WORKER_ADDRESS_1, WORKER_ADDRESS_2", worker.address),
        ("max_workers: 2", "max_workers: 1"),
        (r"python3 -m venv .*\n.*/pip install .*", f"ln -sfn {ENVIRONMENT} ~/ray-env"),
    ):
        text, count = re.subn(what, by, text)
        assert count == 1, what
    return text


def test_from_a_list_of_machines_to_a_submission(ready_machines: Machines) -> None:
    laptop = with_user(ready_machines, "l", project=True)
    head, worker = (with_user(ready_machines, name) for name in ("h", "w1"))
    done(laptop, "ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519")
    mine = done(laptop, "cat ~/.ssh/id_ed25519.pub").strip()
    for machine in (head, worker):
        done(machine, f"echo '{mine}' >~/.ssh/authorized_keys")
        done(machine, f"{SSHD} -o PermitRootLogin=yes -o ListenAddress={machine.address}")
    laptop.path("/tmp/cluster.yaml").write_text(filled_in(head, worker))
    # the commands in the file's first lines
    done(laptop, "(umask 077; ray get-auth-token --generate >/dev/null)")
    done(laptop, f"cd {HERE} && ray up -y /tmp/cluster.yaml")

    def nodes() -> int:
        said = head.run("bash -ic 'RAY_AUTH_MODE=token ray status'", HOME).stdout
        found = re.search(r"(\d+) local\.cluster\.node", said)
        return int(found[1]) if found else 0

    wait(lambda: nodes() == 2, "the head has not started the worker")
    words = "--space smoke --trials 4 --data demo --address auto --runs-dir /tmp/runs --run one"
    said = done(
        head, f"cd ~/recsearch && bash -ic 'RAY_AUTH_MODE=token python run_search.py {words}'"
    )
    assert "4 trials planned" in said
    assert trials_on(head) + trials_on(worker) == 4
    assert len(done(head, "cat /tmp/runs/one/submission.csv").splitlines()) == 301
    assert worker.run("ls -A /tmp/runs").returncode != 0  # nothing is shared
    done(laptop, f"cd {HERE} && ray down -y /tmp/cluster.yaml")
    wait(lambda: "/raylet" not in done(head, "ps -eo args="), "Ray is still up on the head")
