"""A search over several machines: real raylets that share nothing, on machines made here."""

from __future__ import annotations

from tests.cluster.machines import HERE, INSIDE, PORT, Machines
from tests.cluster.searching import (
    LONG_S,
    MARKS,
    end,
    join,
    search,
    start_head,
    table,
    taken_places,
    trials_on,
    until,
    wait,
)

pytestmark = MARKS


def test_nothing_is_shared_and_a_bad_node_is_left_out(machines: Machines) -> None:
    head = start_head(machines)
    good = join(machines, "w1")
    bad = machines.add("w2")
    other = "/tmp/other/numpy-1.0.dist-info"
    bad.run(f"mkdir -p {other} && printf 'Name: numpy\\nVersion: 1.0\\n' >{other}/METADATA")
    at = f"{head.address}:{PORT}"
    bad.ray(f"--address={at}", "--num-cpus=2", env={"PYTHONPATH": "/tmp/other"})
    options = ("--space", "smoke", "--trials", "3")
    done = head.run(search("far", *options, "--address", at), timeout=LONG_S)
    assert done.returncode == 0, done.stdout + done.stderr
    line = f"w2 ({bad.address}) has numpy 1.0, the driver has "
    assert f"note: {line}" in done.stdout
    assert f"left out    {line}" in done.stdout
    assert trials_on(good) == 3
    assert trials_on(bad) == 0
    for node in (good, bad):
        left = node.run(f"ls -A {HERE} /tmp/runs /tmp/ray_results").stdout.splitlines()
        assert [name for name in left if name and not name.endswith(":")] == [*INSIDE]
    here = head.run(search("near", *options), {"RECSEARCH_CPUS": "1"}, timeout=LONG_S)
    assert here.returncode == 0, here.stdout + here.stderr
    far = table(head, "far")
    assert taken_places(far) == {(f"w1 ({good.address})", "cpu")}
    assert far == table(head, "near")
    same = (
        "for f in submission.csv model/weights.pt; do cmp /tmp/runs/far/$f /tmp/runs/near/$f; done"
    )
    assert head.run(f"set -e; {same}").returncode == 0


def test_large_trials_keep_off_small_nodes(machines: Machines) -> None:
    head = start_head(machines)
    at = f"{head.address}:{PORT}"
    small = join(machines, "w1", "--memory=270000000")  # for a worker and a small model
    some = ("--space", "smoke", "--trials", "3", "--address", at)
    wide = ("--set", "enqueue=[]", "--set", "latent_factors=2048")
    both = ("--set", "'latent_factors={choice: [8, 2048]}'", "--set", "enqueue=[]")
    refused = head.run(search("both", *some, *both), timeout=LONG_S)
    assert refused.returncode == 2, refused.stdout + refused.stderr
    assert "d=2048" in refused.stderr
    assert "the node with the most memory offers 0.3 GB" in refused.stderr
    assert refused.stderr.count("\n") == 1
    large = join(machines, "w2", "--memory=2000000000")
    done = head.run(search("wide", *some, *wide), timeout=LONG_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (trials_on(small), trials_on(large)) == (0, 3)
    done = head.run(search("narrow", *some), timeout=LONG_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert trials_on(small) > 0


def test_a_cluster_without_a_node_and_one_without_its_large_node_are_waited_for(
    machines: Machines,
) -> None:
    """The search begins with no node; later its only large one ends, and another one comes."""
    head = start_head(machines)
    wide = ("--trials", "2", "--set", "enqueue=[]", "--set", "latent_factors=2048")
    at = f"{head.address}:{PORT}"
    process = head.start(search("first", "--space", "smoke", *wide, "--address", at))
    until(process, "waiting for the first node of the cluster that has 1 core")
    large = join(machines, "w1", "--memory=2000000000")
    join(machines, "w2", "--memory=270000000")
    until(process, "stage: search")
    until(process, "stage: race")
    large.end()
    until(process, "and the node with the most memory offers 0.3 GB")
    join(machines, "w3", "--memory=2000000000")
    said = end(process)
    assert process.returncode == 0, said


def test_nodes_come_and_go_and_then_the_head_ends(machines: Machines) -> None:
    head = start_head(machines)
    first = join(machines, "w1")
    long = ("--space", "smoke", "--trials", "300", "--set", "scheduler=none")
    words = search("late", *long, "--address", f"{head.address}:{PORT}")
    process = head.start(words, {"RAY_gcs_rpc_server_reconnect_timeout_s": "15"})
    wait(lambda: trials_on(first) >= 2, "the first node does not work")
    late = join(machines, "w2")
    seconds = wait(lambda: trials_on(late) >= 1, "the late node does not work")
    print(f"the late node works after {seconds:.1f} s")
    assert process.poll() is None, "the search ended before"
    first.end()  # with a trial that has not ended
    done = trials_on(late)
    wait(lambda: trials_on(late) >= done + 2, "the search does not continue without the first node")
    head.run("kill -9 $(pgrep gcs_server)")
    said = end(process)
    assert process.returncode != 0
    assert "the cluster's head has not answered for 10 s" in said
    assert "nothing finished is lost. To resume: " in said
    assert "--resume --run" in said
    text = head.run("cat /tmp/runs/late/trials.csv /tmp/runs/late/journal.jsonl").stdout
    assert '"state": "FAILED"' not in text.replace('":"', '": "')


def test_a_cluster_with_tokens(machines: Machines) -> None:
    right = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
    wrong = right | {"RAY_AUTH_TOKEN": "fedcba9876543210" * 4}
    head = start_head(machines, **right)
    node = join(machines, "w1", **right)
    at = f"{head.address}:{PORT}"
    words = ("--space", "smoke", "--trials", "2", "--address", at)
    for env in ({}, wrong):
        refused = head.run(search("refused", *words), env, timeout=LONG_S)
        assert refused.returncode == 2, refused.stdout + refused.stderr
        assert f"--address {at}: " in refused.stderr
        assert "asks for a token, set RAY_AUTH_MODE=token" in refused.stderr.replace(
            ": set", ", set"
        )
        assert refused.stderr.count("\n") == 1
    assert head.run("ls /tmp/runs").returncode != 0
    done = head.run(search("good", *words), right, timeout=LONG_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert trials_on(node) == 2
    found = head.run(f"grep -rl {right['RAY_AUTH_TOKEN']} /tmp/runs /tmp/good.db")
    assert found.returncode == 1, f"the token stands in {found.stdout}"
