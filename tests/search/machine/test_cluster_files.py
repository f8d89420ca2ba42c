"""The files in cluster/: valid for Ray, and their commands for the search."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml

from search.cli.arguments import search_parser

ROOT = Path(__file__).resolve().parents[3]
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
    flat = re.sub(r"\\\n#?|\n#?", " ", text)
    return [
        shlex.split(one, comments=True)
        for one in re.findall(r"run_search\.py ((?:-[^;'`]*))", flat)
    ]


def test_ray_up_takes_the_list_of_machines() -> None:
    config = read("ray-cluster.yaml")
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(config, schema)
    (start,) = [line for line in config["head_start_ray_commands"] if "--head" in line]
    for needed in ("--autoscaling-config=", "RAY_enable_autoscaler_v2=0", "RAY_AUTH_MODE=token"):
        assert needed in start
    assert not any("/opt" in line for line in config["setup_commands"])  # which only root may write


def test_the_job_on_kubernetes() -> None:
    job = read("kuberay.yaml")
    spec = job["spec"]["rayClusterSpec"]
    head, (workers,) = spec["headGroupSpec"], spec["workerGroupSpecs"]
    assert spec["rayVersion"] == pinned("ray")
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert all(isinstance(value, str) for value in head["rayStartParams"].values())
    image = (CLUSTER / "Containerfile").read_text(encoding="utf-8")
    assert f'"ray[default]=={pinned("ray")}"' in image  # a dashboard takes more than ray[tune]
    for name in re.findall(r"^COPY (.*) \S+$", image, re.MULTILINE):
        assert all((ROOT / part).exists() for part in name.split())
    (worker,) = workers["template"]["spec"]["containers"]
    assert "volumeMounts" not in worker  # nothing is shared
    entry = job["spec"]["entrypoint"]
    resumed, begun = (search_parser().parse_args(words) for words in searches(entry))
    assert (resumed.resume, resumed.run) == (True, f"{begun.runs_dir}/{begun.run}")
    assert begun.tracking_uri is not None  # else the store would end with the pod
    shlex.split(entry)


@pytest.mark.parametrize("file", ["docs/cluster.md", "cluster/kuberay.yaml"])
def test_every_command_is_one(file: str) -> None:
    found = searches((ROOT / file).read_text(encoding="utf-8").replace("```", "\n;"))
    assert found
    for words in found:
        assert search_parser().parse_args(words).address is not None
