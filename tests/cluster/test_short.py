"""What `make test` runs of a cluster: a node that cannot work, and one that does the work."""

from __future__ import annotations

from tests.cluster.machines import EMPTY, HERE, PORT, Machines
from tests.cluster.searching import LONG_S, SHORT, join, search, start_head, trials_on

pytestmark = SHORT


def test_a_bad_node_alone_is_refused_and_a_good_one_has_all_trials(
    ready_machines: Machines,
) -> None:
    head = start_head(ready_machines)
    bad = ready_machines.add("w1")
    other = "/tmp/other/torch-1.0.dist-info"
    bad.run(f"mkdir -p {other} && printf 'Name: torch\\nVersion: 1.0\\n' >{other}/METADATA")
    at = f"{head.address}:{PORT}"
    bad.ray(f"--address={at}", "--num-cpus=1", env={"PYTHONPATH": "/tmp/other"})
    words = ("--space", "smoke", "--trials", "2", "--set", "race=none", "--address", at)
    refused = head.run(search("one", *words), timeout=LONG_S)
    line = f"w1 ({bad.address}) has torch 1.0"
    assert refused.returncode == 2, refused.stdout + refused.stderr
    assert f"--address {at}: no node can work: {line}" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert head.run("ls /tmp/runs").returncode != 0  # nothing was begun
    good = join(ready_machines, "w2")
    done = head.run(search("one", *words), timeout=LONG_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"note: {line}" in done.stdout
    assert (trials_on(bad), trials_on(good)) == (0, 2)
    assert good.run(f"ls -A {HERE} /tmp/runs").stdout.splitlines() == EMPTY  # nothing is shared
    assert len(head.run("cat /tmp/runs/one/submission.csv").stdout.splitlines()) == 301
