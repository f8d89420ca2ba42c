"""What the search uses of Ray and Optuna that is not theirs to promise: each name is still there.

ADR 176 says of each why, and what happens once it is gone. Ray is imported, and not started.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
ADR = ROOT / "docs" / "adr" / "0176-private-names-of-ray-and-optuna.md"

# By file, the names in full. A name behind a colon is an attribute that objects of the class have,
# or one of its methods; with parentheses it is a parameter.
USED = {
    "search/machine/cluster.py": [
        "ray._private.ray_constants.ENABLE_RAY_CLUSTER",
        "ray._private.worker._global_node",
        "ray._private.node.Node:dead_processes",
        "ray._private.worker.init(_node_ip_address)",
        "ray._private.worker.init(_temp_dir)",
        "ray._raylet.Config.initialize",
    ],
    "search/machine/lean.py": [
        "ray._private.node.Node:start_api_server",
        "ray._private.parameter.RayParams.__init__(no_monitor)",
        "ray._private.parameter.RayParams.__init__(include_log_monitor)",
        "ray._private.services.ConsolePopen",
        "ray._private.worker.print_to_stdstream",
        "ray.air._internal.usage.tag_callbacks",
    ],
    "search/tune/controller.py": [
        "ray.tune.tune.TuneController",
        *(
            f"ray.tune.execution.tune_controller.TuneController:{name}"
            for name in (
                *("_actor_cache", "_actor_failed", "_actor_manager", "_actor_started"),
                *("_actor_stopped", "_actor_to_trial", "_cleanup_trials"),
                *("_maybe_reuse_cached_actor", "_pending_trials_list", "_process_trial_failure"),
                *("_remove_actor", "_resetting_trials", "_schedule_trial_actor", "_search_alg"),
                *("_staged_trials", "_started_actors", "_trial_task_failure", "_trial_to_actor"),
                *("_unstage_trial_with_resources", "experiment_state_path", "on_step_begin"),
                "save_to_dir",
            )
        ),
        "ray.air.execution._internal.RayActorManager:_resource_manager",
        "ray.air.execution._internal.RayActorManager:clear_actor_task_futures",
        "ray.air.execution._internal.RayActorManager:remove_actor",
        "ray.air.execution._internal.tracked_actor.TrackedActor:set_on_error",
        "ray.air.execution._internal.tracked_actor.TrackedActor:set_on_stop",
        "ray.tune.utils.object_cache._ObjectCache:cache_object",
        "ray.tune.utils.object_cache._ObjectCache:has_cached_object",
        "ray.tune.experiment.Trial:init_local_path",
        "ray.tune.experiment.Trial:placement_group_factory",
    ],
    "search/tune/reports.py": [
        "ray.air.execution._internal.RayActorManager:_actor_task_events",
        "ray.air.execution._internal.RayActorManager:_try_start_actors",
        "ray.air.execution._internal.RayActorManager:next",
        "ray.air.execution._internal.event_manager.RayEventManager:_tracked_futures",
        "ray.air.execution._internal.event_manager.RayEventManager:resolve_future",
    ],
    "search/tune/scheduler.py": ["ray.tune.schedulers.FIFOScheduler._metric"],
    "search/tune/new_configs.py": ["optuna.distributions.BaseDistribution._contains"],
    "search/tune/study.py": [
        "optuna.trial.FrozenTrial:_trial_id",
        "optuna.trial.Trial.__init__(trial_id)",
    ],
    "search/tune/tails.py": ["optuna.samplers._tpe._truncnorm._log_ndtr"],
    "search/tune/tuner.py": [
        "ray.tune.experiment.Trial.generate_id",
        "ray.tune.experiment.Trial:get_pickled_error",
        "ray.tune.search.search_generator.SearchGenerator:_counter",
        "ray.tune.search.search_generator.SearchGenerator:create_trial_if_possible",
        "ray.tune.search.search_generator.SearchGenerator:searcher",
    ],
}


def resolved(name: str) -> Any:
    """What a dotted name stands for; ImportError or AttributeError where there is nothing."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return found
    raise ImportError(name)


def is_there(name: str) -> bool:
    dotted, _, parameter = name.removesuffix(")").partition("(")
    dotted, _, member = dotted.partition(":")
    try:
        found = resolved(dotted)
    except (ImportError, AttributeError):
        return False
    if parameter:
        named = parameter in inspect.signature(found).parameters
        return named or f'kwargs.pop("{parameter}"' in inspect.getsource(found)
    if not member or hasattr(found, member):
        return True
    of = [one for one in found.__mro__ if one is not object]
    return any(re.search(rf"\bself\.{member}\b[^=\n]*=", inspect.getsource(one)) for one in of)


def last_word(name: str) -> str:
    return re.findall(r"\w+", name)[-1]


@pytest.mark.parametrize("file", USED)
def test_every_private_name_is_in_the_installed_version(file: str) -> None:
    gone = [name for name in USED[file] if not is_there(name)]
    assert not gone, f"{file} uses {', '.join(gone)}, which the installed version lacks: see {ADR}"


def test_a_name_that_is_gone_is_found() -> None:
    for name in (
        "ray._private.gone.Node",
        "ray._private.worker._gone",
        "ray._private.node.Node:gone",
        "ray._private.worker.init(_gone)",
        "ray._private.parameter.RayParams.__init__(gone)",
        "ray.tune.execution.tune_controller.TuneController:_gone",
    ):
        assert not is_there(name), name


def test_the_decision_names_every_one_of_them_and_its_file() -> None:
    text = ADR.read_text(encoding="utf-8")
    named = {word for code in re.findall(r"`([^`]+)`", text) for word in re.findall(r"\w+", code)}
    assert {last_word(name) for names in USED.values() for name in names} - named == set()
    assert [file for file in USED if f"`{file.removeprefix('search/')}`" not in text] == []


def inherited(tree: ast.Module) -> Iterator[str]:
    """What the classes of a file use of themselves and none has made: it is of a class above."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    own, uses = set[str](), list[ast.Attribute]()
    for cls in classes:
        uses += [node for node in ast.walk(cls) if isinstance(node, ast.Attribute)]
        own |= {n.name for n in cls.body if isinstance(n, ast.FunctionDef)}
        own |= {n.id for n in ast.walk(cls) if isinstance(n, ast.Name) and is_stored(n)}
    own |= {use.attr for use in uses if is_stored(use)}
    for use in uses:
        of_self = ast.unparse(use.value) == "self" and use.attr not in own
        if of_self or (ast.unparse(use.value) == "super()" and use.attr != "__init__"):
            yield use.attr


def is_stored(node: ast.Name | ast.Attribute) -> bool:
    return isinstance(node.ctx, ast.Store)


def private(tree: ast.Module) -> Iterator[str]:
    """Private names of others: in imports, and behind a dot."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and re.search(
            r"^(ray|optuna)\b.*\._", node.module or ""
        ):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Attribute) and re.match("_[a-z]", node.attr):
            ours = ast.unparse(node.value) in ("self", "cls", "super()")
            yield from () if ours else (node.attr,)


def knows(text: str) -> bool:
    return re.search(r"^\s*(import|from) (ray|optuna)\b", text, re.M) is not None


def test_no_private_name_is_left_out() -> None:
    """Of files that import Ray or Optuna: an import of a private module, an attribute with an
    underscore that is not our own, and whatever a class takes from Ray's class above it.
    """
    left = set()
    for path in (ROOT / "search").rglob("*.py"):
        text, file = path.read_text(encoding="utf-8"), str(path.relative_to(ROOT))
        if not knows(text):
            continue
        tree = ast.parse(text)
        listed = {word for name in USED.get(file, ()) for word in re.findall(r"\w+", name)}
        names = {*private(tree), *inherited(tree)}
        left |= {f"{file}: {name}" for name in names - listed}
    assert left == set()
