"""A cluster that has no node and starts some on demand: Ray's own autoscaler, whose pretended cloud
starts raylets on the head's machine.
"""

from __future__ import annotations

import json
import shlex

from tests.cluster.machines import Machines
from tests.cluster.searching import LONG_S, MARKS, end, search
from tests.cluster.watching import check

pytestmark = MARKS
PORT = 6379  # where the nodes of the pretended cloud look for their head
HEAD = "ray.head.default"  # the name that the pretended cloud has for its head
EMPTY = ("auth", "docker", "file_mounts")
LISTS = (
    *("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands"),
    *("head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files"),
    *("rsync_exclude", "rsync_filter"),
)
CLOUD = {
    "cluster_name": "pretended",
    "max_workers": 2,
    "upscaling_speed": 1.0,
    "idle_timeout_minutes": 5,
    "provider": {
        "type": "fake_multinode",
        "use_node_id_as_ip": True,
        "disable_node_updaters": True,
    },
    "head_node_type": HEAD,
    "available_node_types": {
        HEAD: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "worker": {
            "resources": {"CPU": 1, "object_store_memory": 90_000_000},
            "node_config": {},
            "min_workers": 0,
            "max_workers": 2,
        },
    },
    "file_mounts_sync_continuously": False,
    "no_restart": False,
    **{name: {} for name in EMPTY},
    **{name: [] for name in LISTS},
}


def test_nodes_come_because_a_search_waits_for_them(ready_machines: Machines) -> None:
    """First the one for whose sake the search waits, then a second for the trial that waits."""
    head = ready_machines.add("h", project=True)
    ready_machines.default_route("h")  # else Ray takes 127.0.0.1 for the address of new nodes
    head.run(f"echo {shlex.quote(json.dumps(CLOUD))} > /tmp/cloud.json")
    head.ray(
        *("--head", f"--port={PORT}", "--num-cpus=0", "--include-dashboard=false"),
        "--autoscaling-config=/tmp/cloud.json",
        env={"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"},
    )
    options = ("--space", "smoke", "--trials", "6", "--set", "searcher=random")
    options += ("--set", "scheduler=none")
    process = head.start(search("grown", *options, "--address", f"{head.address}:{PORT}"))
    said = end(process)
    assert process.returncode == 0, said
    assert "waiting for the first node of the cluster that has 1 core" in said
    started = head.run("ls /tmp/ray/session_latest/logs/raylet.[0-9]*.out").stdout.split()
    assert len(started) == 2, said
    here = head.run(search("near", *options), {"RECSEARCH_CPUS": "2"}, timeout=LONG_S)
    assert here.returncode == 0, here.stdout + here.stderr
    check(head, "grown", "near", trials=6)
