"""The files in cluster/: valid for Ray, and their commands for the search."""

from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ray.autoscaler._private.kuberay import autoscaling_config
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.dashboard.modules.job.cli import job_cli_group

from search.cli.arguments import command_parser, search_parser

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
CLUSTER = ROOT / "cluster"


def read(name: str) -> Any:
    return yaml.safe_load((CLUSTER / name).read_text(encoding="utf-8"))


def pinned(package: str) -> str:
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    found = re.search(rf"^{re.escape(package)}(?:\[\w+\])?==(\S+)$", text, re.MULTILINE)
    assert found is not None
    return found[1]


def searches(text: str) -> list[list[str]]:
    """The options of every search that a text starts."""
    return [
        shlex.split(one, comments=True)
        for one in re.findall(r"run_search\.py ((?:-[^;'`\n]*))", text)
    ]


def jobs(text: str) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """What `ray job submit` makes of each of its commands in a text, and the command inside."""
    for line in re.findall(r"^ray job (submit .*)$", text, re.MULTILINE):
        name, *words = shlex.split(line)
        command = job_cli_group.commands[name]
        given = command.make_context(name, words).params
        yield given, list(given["entrypoint"])


def ray_up(config: dict[str, Any]) -> dict[str, Any]:
    """What `ray up` makes of a file; raises where Ray's schema and checks do not take it."""
    validate_config({"cluster_synced_files": [], **config})
    made: dict[str, Any] = prepare_config(deepcopy(config))
    validate_config(made)
    return made


def test_ray_up_takes_the_list_of_machines() -> None:
    config = read("ray-cluster.yaml")
    ray_up(config)
    (start,) = [line for line in config["head_start_ray_commands"] if "--head" in line]
    for needed in ("--autoscaling-config=", "RAY_enable_autoscaler_v2=0", "RAY_AUTH_MODE=token"):
        assert needed in start
    assert not any("/opt" in line for line in config["setup_commands"])  # which only root may write


def test_ray_up_takes_the_machines_of_a_cloud() -> None:
    config = read("ray-aws.yaml")
    types = ray_up(config)["available_node_types"]
    head, spot = types.pop(config["head_node_type"]), types.pop("spot")
    assert not types
    assert head["resources"] == {"CPU": 0}  # trials would slow the driver
    assert "InstanceMarketOptions" not in head["node_config"]  # with it the search would end
    assert spot["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert 1 <= spot["min_workers"] < spot["max_workers"] <= config["max_workers"]
    for commands in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert "RAY_AUTH_MODE=token" in config[commands][-1]
    assert "--autoscaling-config=" in config["head_start_ray_commands"][-1]
    for line in config["setup_commands"] + config["head_setup_commands"]:
        fixed = "==" in line or "-c ~/recsearch/constraints.txt" in line
        assert fixed or "pip install" not in line


@pytest.mark.parametrize(
    "spoil",
    [
        lambda it: it.pop("provider"),
        lambda it: it["provider"].pop("type"),
        lambda it: it.update(max_worker=2),
        lambda it: it.update(max_workers="8"),
        lambda it: it.update(max_workers=0),
        lambda it: it.update(head_node_type="heads"),
        lambda it: it["available_node_types"]["spot"].pop("node_config"),
        lambda it: it["available_node_types"]["spot"].update(min_workers="1"),
        lambda it: it["available_node_types"]["head"].update(resources={"CPU": "none"}),
        lambda it: it.update(setup_commands="pip install ray"),
        lambda it: it["auth"].update(user="ubuntu"),
    ],
)
def test_ray_up_takes_no_spoiled_file(spoil: Callable[[dict[str, Any]], None]) -> None:
    config = read("ray-aws.yaml")
    spoil(config)
    with pytest.raises((jsonschema.ValidationError, ValueError, KeyError)):
        ray_up(config)


@pytest.mark.slow
def test_the_token_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    """By the line that both files and the page have."""
    files = [CLUSTER / "ray-cluster.yaml", CLUSTER / "ray-aws.yaml", ROOT / "docs" / "cluster.md"]
    lines = [re.findall(r"\(umask .*?\)", file.read_text(encoding="utf-8")) for file in files]
    assert all(lines)
    (line,) = {line for found in lines for line in found}
    env = os.environ | {"HOME": str(tmp_path)}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    env.pop("RAY_AUTH_TOKEN", None)
    kept = tmp_path / ".ray" / "auth_token"
    found = set()
    for _ in range(2):  # another time changes nothing
        made = subprocess.run(["bash", "-c", line], env=env, capture_output=True, text=True)
        assert (made.returncode, made.stdout) == (0, "")
        found.add(kept.read_text())
    (token,) = found
    assert len(token) >= 32
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (kept, kept.parent)]
    assert modes == [0o600, 0o700]


def check_job(job: dict[str, Any]) -> None:
    """Raise ValidationError or AssertionError where Kubernetes would not take this RayJob."""
    schema = yaml.safe_load((HERE / "rayjob.yaml").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(job)
    cluster = job["spec"]["rayClusterSpec"]
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        volumes = [volume["name"] for volume in pod.get("volumes", [])]
        for container in pod["containers"]:
            mounted = [mount["name"] for mount in container.get("volumeMounts", [])]
            assert set(mounted) <= set(volumes)


def group(job: dict[str, Any], number: int) -> dict[str, Any]:
    found: dict[str, Any] = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][number]
    return found


def pod(job: dict[str, Any]) -> dict[str, Any]:
    """That of the workers on spot machines."""
    found: dict[str, Any] = group(job, 1)["template"]["spec"]
    return found


@pytest.mark.parametrize(
    "spoil",
    [
        lambda job: job.update(apiVersion="ray.io/v2"),
        lambda job: job["metadata"].update(name="Recsearch_1"),
        lambda job: job["spec"].update(entryPoint="python run_search.py"),
        lambda job: job["spec"].update(backoffLimit="2"),
        lambda job: job["spec"]["rayClusterSpec"].pop("headGroupSpec"),
        lambda job: job["spec"]["rayClusterSpec"]["authOptions"].update(mode="tokens"),
        lambda job: job["spec"]["rayClusterSpec"].update(enableInTreeAutoscaling="true"),
        lambda job: job["spec"]["rayClusterSpec"]["autoscalerOptions"].update(idleTimeout=60),
        lambda job: job["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"].update(a=0),
        lambda job: group(job, 1).pop("groupName"),
        lambda job: group(job, 1).pop("rayStartParams"),
        lambda job: group(job, 1).update(maxReplica=8),
        lambda job: group(job, 1).update(maxReplicas="8"),
        lambda job: group(job, 0).update(replicas=2),
        lambda job: pod(job).pop("containers"),
        lambda job: pod(job).update(containers=[]),
        lambda job: pod(job)["containers"][0].pop("name"),
        lambda job: pod(job)["containers"][0]["resources"].update(limit={"cpu": 8}),
        lambda job: pod(job)["containers"][0]["resources"]["limits"].update(memory="16GiB"),
        lambda job: pod(job)["containers"][0]["resources"]["limits"].update(cores=8),
        lambda job: pod(job).update(nodeSelector={"cloud.google.com/gke-spot": True}),
        lambda job: pod(job)["tolerations"][0].update(effect="NoScheduling"),
        lambda job: pod(job).update(toleration=[]),
        lambda job: job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"].pop(
            "volumes"
        ),
    ],
)
def test_kubernetes_takes_no_spoiled_job(spoil: Callable[[dict[str, Any]], None]) -> None:
    job = read("kuberay.yaml")
    spoil(job)
    with pytest.raises((jsonschema.ValidationError, AssertionError)):
        check_job(job)


def test_the_job_on_kubernetes() -> None:
    job = read("kuberay.yaml")
    check_job(job)
    spec = job["spec"]["rayClusterSpec"]
    head = spec["headGroupSpec"]
    assert spec["rayVersion"] == pinned("ray")
    assert spec["authOptions"] == {"mode": "token"}
    assert head["rayStartParams"]["num-cpus"] == "0"
    image = (CLUSTER / "Containerfile").read_text(encoding="utf-8")
    for name in re.findall(r"^COPY (.*) \S+$", image, re.MULTILINE):
        assert all((ROOT / part).exists() for part in name.split())
    assert head["rayStartParams"]["include-dashboard"] == "true"
    assert job["spec"]["ttlSecondsAfterFinished"] >= 600  # time to fetch the run
    text = (CLUSTER / "kuberay.yaml").read_text(encoding="utf-8")
    (fetched,) = re.findall(r"run_search\.py (fetch .*)", text)
    for workers in spec["workerGroupSpecs"]:
        (worker,) = workers["template"]["spec"]["containers"]
        assert "volumeMounts" not in worker  # nothing is shared
    entry = job["spec"]["entrypoint"]
    resumed, begun = (search_parser().parse_args(words) for words in searches(entry))
    assert (resumed.resume, resumed.run) == (True, f"{begun.runs_dir}/{begun.run}")
    assert begun.tracking_uri is not None  # else the store would end with the pod
    server = begun.tracking_uri.removeprefix("http://")
    assert f"MLFLOW_SERVER_ALLOWED_HOSTS={server}" in text
    shlex.split(entry)
    said = command_parser("fetch").parse_args(fetched.split()[1:])
    assert said.folder == resumed.run
    (volume,) = head["template"]["spec"]["containers"][0]["volumeMounts"]
    assert Path(said.folder).is_relative_to(volume["mountPath"])


def test_workers_on_kubernetes_come_and_go_and_the_head_stays() -> None:
    """Told by the code with which Ray's autoscaler reads the file there."""
    job = read("kuberay.yaml")
    spec = job["spec"]["rayClusterSpec"]
    metadata = {"name": "recsearch", "namespace": "default"}
    cluster = {"metadata": metadata, "spec": spec}
    made = autoscaling_config._derive_autoscaling_config_from_ray_cr(cluster)
    validate_config(made)
    assert made["idle_timeout_minutes"] == spec["autoscalerOptions"]["idleTimeoutSeconds"] / 60
    types = made["available_node_types"]
    head = types.pop(made["head_node_type"])
    assert head["resources"]["CPU"] == 0
    workers = {name: (it["min_workers"], it["max_workers"]) for name, it in types.items()}
    assert workers == {"steady": (1, 1), "spot": (0, 8)}  # with none a search would not begin
    for kind in types.values():
        assert kind["resources"]["CPU"] == 8
        assert kind["resources"]["memory"] == 16 << 30
    label, spot = "cloud.google.com/gke-spot", group(job, 1)["template"]["spec"]
    assert spot["nodeSelector"] == {label: "true"}
    (tolerated,) = spot["tolerations"]
    assert (tolerated["key"], tolerated["value"]) == (label, "true")
    affinity = spec["headGroupSpec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term["matchExpressions"] == [{"key": label, "operator": "DoesNotExist"}]


def test_a_head_that_takes_jobs_has_what_they_need() -> None:
    """Page, image and tests install one file, in versions that are known."""
    text = (ROOT / "requirements-head.txt").read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if not line.startswith("#")] == [
        "-r requirements.txt",
        f"ray[default]=={pinned('ray')}",
    ]
    install = "-r requirements-head.txt -c constraints.txt"
    image = (CLUSTER / "Containerfile").read_text(encoding="utf-8")
    assert f"pip install --no-cache-dir {install}\n" in image
    copied = " ".join(re.findall(r"^COPY (.*) \S+$", image, re.MULTILINE)).split()
    assert {"requirements.txt", "requirements-head.txt", "constraints.txt"} <= set(copied)
    assert f"pip install {install}\n" in (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    assert install in (ROOT / "Makefile").read_text(encoding="utf-8")
    known = {
        canonicalize_name(line.partition("==")[0])
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    }
    asked = (Requirement(line) for line in requires("ray") or [])
    needed = {
        canonicalize_name(one.name)
        for one in asked
        if one.marker is not None and one.marker.evaluate({"extra": "default"})
    }
    assert "opencensus" in needed
    assert needed <= known


def test_the_page_submits_what_can_be_fetched() -> None:
    text = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    (first, begins), (second, resumes) = jobs(text)
    assert first["working_dir"] == second["working_dir"] == "."
    assert first["submission_id"] != second["submission_id"]  # Ray takes each once
    for words in (begins, resumes):
        assert words[:2] == ["python", "run_search.py"]
    began, resumed = (search_parser().parse_args(words[2:]) for words in (begins, resumes))
    assert began.address == resumed.address == "auto"
    assert Path(began.runs_dir).is_absolute()
    assert (resumed.resume, resumed.run) == (True, f"{began.runs_dir}/{began.run}")
    assert resumed.data == began.data  # in another folder of Ray's than before
    (fetched,) = re.findall(r"^python run_search\.py fetch (.*)$", text, re.MULTILINE)
    assert command_parser("fetch").parse_args(fetched.split()).folder == resumed.run


@pytest.mark.parametrize(
    "file", ["docs/cluster.md", "cluster/kuberay.yaml", "cluster/ray-aws.yaml"]
)
def test_every_command_is_one(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    if file.endswith("kuberay.yaml"):
        text = read("kuberay.yaml")["spec"]["entrypoint"]
    found = searches(text)
    assert found
    for words in found:
        assert search_parser().parse_args(words).address is not None
