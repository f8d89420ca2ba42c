"""What crosses the network: bytes that a node receives, as its own kernel counts them."""

from __future__ import annotations

import shlex

from tests.cluster.machines import PORT, PY, Machine, Machines
from tests.cluster.searching import LONG_S, MARKS, search, start_head, trials_on

pytestmark = MARKS
USERS, ITEMS, EACH = 4000, 2000, 500
MAKE = f"""
import numpy, pyarrow, pyarrow.parquet
rng = numpy.random.default_rng(0)
rows = [numpy.sort(rng.permutation({ITEMS})[:{EACH}]) for _ in range({USERS})]
columns = dict(user_id=numpy.repeat(numpy.arange({USERS}), {EACH}), item_id=numpy.hstack(rows))
pyarrow.parquet.write_table(pyarrow.table(columns), "/tmp/data.parquet")
"""


def received(machine: Machine) -> int:
    """Bytes that have come to a machine over its cable."""
    lines = machine.run("cat /proc/net/dev").stdout.splitlines()
    (counts,) = [line.split(":")[1] for line in lines if line.strip().startswith("eth0:")]
    return int(counts.split()[0])


def test_the_data_come_to_a_node_once_for_all_its_workers(machines: Machines) -> None:
    """Eight trials in two processes: train and valid come once. Then all three parts for the test,
    once for the winner and its rivals, and everything for the refit.
    """
    head = start_head(machines)
    node = machines.add("w1")
    at = f"{head.address}:{PORT}"
    node.ray(f"--address={at}", "--num-cpus=2")
    made = head.run(f"{PY} -c {shlex.quote(MAKE)}")
    assert made.returncode == 0, made.stderr
    options = ["--space", "smoke", "--trials", "8", "--set", "searcher=random"]
    options += ["--set", "scheduler=none", "--set", "max_epochs=1", "--set", "race=none"]
    options += ["--set", "method=bpr_uniform", "--set", "enqueue=[]", "--address", at]
    before = received(node)
    words = search("sent", *options, data="/tmp/data.parquet")
    done = head.run(words, timeout=2 * LONG_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert trials_on(node) == 8
    came = received(node) - before
    once = (
        4 * USERS * EACH * (0.9 + 1.0 + 1.0)
    )  # four bytes an interaction; a tenth is for the test
    print(f"{came / 1e6:.1f} MB came to the node, {came / once:.2f} times the data")
    assert 1.0 < came / once < 1.3
