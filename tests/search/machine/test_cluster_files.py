"""The files in cluster/: valid for Ray, and their commands for the search."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ray.dashboard.modules.job.cli import job_cli_group

from search.cli.arguments import command_parser, search_parser

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
    for name in re.findall(r"^COPY (.*) \S+$", image, re.MULTILINE):
        assert all((ROOT / part).exists() for part in name.split())
    assert head["rayStartParams"]["include-dashboard"] == "true"
    assert job["spec"]["ttlSecondsAfterFinished"] >= 600  # time to fetch the run
    (fetched,) = re.findall(r"run_search\.py (fetch .*)", (CLUSTER / "kuberay.yaml").read_text())
    (worker,) = workers["template"]["spec"]["containers"]
    assert "volumeMounts" not in worker  # nothing is shared
    entry = job["spec"]["entrypoint"]
    resumed, begun = (search_parser().parse_args(words) for words in searches(entry))
    assert (resumed.resume, resumed.run) == (True, f"{begun.runs_dir}/{begun.run}")
    assert begun.tracking_uri is not None  # else the store would end with the pod
    shlex.split(entry)
    said = command_parser("fetch").parse_args(fetched.split()[1:])
    assert said.folder == resumed.run
    (volume,) = head["template"]["spec"]["containers"][0]["volumeMounts"]
    assert Path(said.folder).is_relative_to(volume["mountPath"])


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


@pytest.mark.parametrize("file", ["docs/cluster.md", "cluster/kuberay.yaml"])
def test_every_command_is_one(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    found = searches(read("kuberay.yaml")["spec"]["entrypoint"] if file.endswith("yaml") else text)
    assert found
    for words in found:
        assert search_parser().parse_args(words).address is not None
