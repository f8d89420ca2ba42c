"""Names of other libraries that are private, or of their internal modules: each is still there.

ADR 176 says of each why it is used, and what happens once it is gone. Ray is imported but not
started; MLflow is read but not imported, as importing its server makes an application.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
ADR = ROOT / "docs" / "adr" / "0176-private-names-of-other-libraries.md"

# By file, the names in full. A name behind a colon is an attribute that objects of the class have,
# or one of its methods; with parentheses it is a parameter.
USED = {
    "recsys/kernels/jit.py": [
        "numba.config.CACHE_LOCATOR_CLASSES",
        "numba.core.base.BaseContext:cast",
        "numba.core.base.BaseContext:get_dummy_value",
        "numba.core.base.BaseContext:make_array",
        "numba.core.caching.Cache:save_overload",
        "numba.core.caching.UserProvidedCacheLocator:get_suitable_cache_subpath",
        "numba.core.cpu.CPUTargetOptions:_nrt",
        "numba.core.dispatcher.Dispatcher:_cache",
    ],
    "recsys/output.py": ["atexit._run_exitfuncs"],
    "search/machine/ask_nodes.py": [
        "ray._private.state.state",
        "ray._private.state.GlobalState:get_draining_nodes",
    ],
    "search/machine/cluster.py": [
        "ray._private.ray_constants.ENABLE_RAY_CLUSTER",
        "ray._private.worker._global_node",
        "ray._private.node.Node:dead_processes",
        "ray._private.worker.init(_node_ip_address)",
        "ray._private.worker.init(_temp_dir)",
        "ray._raylet.Config.initialize",
        "ray.air.execution.resources.ResourceRequest",
    ],
    "search/machine/lean.py": [
        "ray._private.node.Node:start_api_server",
        "ray._private.parameter.RayParams.__init__(no_monitor)",
        "ray._private.parameter.RayParams.__init__(include_log_monitor)",
        "ray._private.services.ConsolePopen",
        "ray._private.worker.print_to_stdstream",
        "ray.air._internal.usage.tag_callbacks",
        "ray.tune.experiment.trial.get_trainable_cls",
        "ray.tune.trainable.metadata._TrainingRunMetadata.update_metric",
    ],
    "search/tracking/store.py": ["mlflow.store.tracking.sqlalchemy_store.SqlAlchemyStore:engine"],
    "search/tracking/ui_server.py": [
        "mlflow.cli.cli",
        "mlflow.server._build_uvicorn_command",
        "mlflow.server.fastapi_app.create_fastapi_app",
    ],
    "search/tune/controller.py": [
        "ray.tune.tune.TuneController",
        *(
            f"ray.tune.execution.tune_controller.TuneController:{name}"
            for name in (
                *("_actor_cache", "_actor_failed", "_actor_manager", "_actor_started"),
                *("_actor_stopped", "_actor_to_trial", "_cleanup_cached_actors", "_cleanup_trials"),
                "_maybe_cache_trial_actor",
                *("_maybe_reuse_cached_actor", "_pending_trials_list", "_process_trial_failure"),
                *("_remove_actor", "_resetting_trials", "_schedule_trial_actor", "_search_alg"),
                *("_staged_trials", "_started_actors", "_trial_task_failure", "_trial_to_actor"),
                *("_unstage_trial_with_resources", "experiment_state_path", "on_step_begin"),
                *("_wrapped", "checkpoint", "save_to_dir"),
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
        "ray.tune.experiment.Trial:run_metadata",
        "ray.tune.experiment.trial._TrainingRunMetadata:num_failures",
        "ray.exceptions.RayActorError:_preempted",
    ],
    "search/machine/seats.py": [
        "ray.air.execution.resources.ResourceManager",
        "ray.air.execution.resources.ResourceRequest",
        "ray.air.execution.resources.placement_group.PlacementGroupAcquiredResources",
    ],
    "search/machine/tasks.py": ["ray.air.execution.resources.ResourceRequest"],
    "search/tune/outcome.py": ["ray.tune.Trainable:get_auto_filled_metrics"],
    "search/tune/reports.py": [
        "ray.air.execution._internal.RayActorManager:_actor_task_events",
        "ray.air.execution._internal.RayActorManager:_actor_task_failed",
        "ray.air.execution._internal.RayActorManager:_cleanup_actor",
        "ray.air.execution._internal.RayActorManager:_live_actors_to_ray_actors_resources",
        "ray.air.execution._internal.RayActorManager._schedule_tracked_actor_task(_return_future)",
        "ray.air.execution._internal.RayActorManager:_try_start_actors",
        "ray.air.execution._internal.RayActorManager:next",
        "ray.air.execution._internal.event_manager.RayEventManager:_tracked_futures",
        "ray.air.execution._internal.event_manager.RayEventManager:resolve_future",
        "ray.air.execution.resources.ResourceManager",
    ],
    "search/tune/scheduler.py": ["ray.tune.schedulers.FIFOScheduler._metric"],
    "search/propose/redraw.py": ["optuna.distributions.BaseDistribution._contains"],
    "search/propose/study.py": [
        "optuna.trial.FrozenTrial:_trial_id",
        "optuna.trial.Trial.__init__(trial_id)",
    ],
    "search/propose/tails.py": ["optuna.samplers._tpe._truncnorm._log_ndtr"],
    "search/tune/tuner.py": [
        "ray.tune.experiment.Trial.generate_id",
        "ray.tune.experiment.Trial:get_pickled_error",
        "ray.tune.search.search_generator.SearchGenerator:_counter",
        "ray.tune.search.search_generator.SearchGenerator:create_trial_if_possible",
        "ray.tune.search.search_generator.SearchGenerator:searcher",
    ],
}

# Modules that their libraries leave out of the reference, whatever their names.
INTERNAL = re.compile(
    r"(mlflow\.(cli|server|store)|numba\.core|ray\.air\.execution|ray\.tune\.(execution|tune))\b"
)
OURS = re.compile(r"(search|recsys)\b")
# Names with an underscore that a reference has all the same.
DOCUMENTED = {"_asdict", "_exit", "_fields", "_replace"}


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


def is_written(name: str) -> bool:
    """`is_there` for MLflow, by what its files say."""
    dotted, _, member = name.partition(":")
    _, *modules, last = dotted.split(".")
    package = find_spec("mlflow")
    assert package is not None
    assert package.origin is not None
    place = Path(package.origin).parent.joinpath(*modules)
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    found = re.search(rf"^(def|class) {last}\b", text, re.M) is not None
    return found and (not member or is_set(member, text))


def is_set(member: str, text: str) -> bool:
    return re.search(rf"\bself\.{member}\b[^=\n]*=", text) is not None


def is_there(name: str) -> bool:
    if name.startswith("mlflow."):
        return is_written(name)
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
    return any(is_set(member, source_of(one)) for one in of)


def source_of(cls: type) -> str:
    """The text of a class; nothing of one that was put together at run time."""
    try:
        return inspect.getsource(cls)
    except OSError:
        return ""


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
        "numba.core.gone.Cache",
        "numba.core.cpu.CPUTargetOptions:_gone",
        "mlflow.server._gone",
        "mlflow.server.gone.create_fastapi_app",
        "mlflow.store.tracking.sqlalchemy_store.SqlAlchemyStore:gone",
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


def made_here(tree: ast.Module) -> set[str]:
    """Names that a file itself gives: of functions, of variables, of attributes of its objects."""
    nodes = list(ast.walk(tree))
    names = {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    names |= {n.id for n in nodes if isinstance(n, ast.Name) and is_stored(n)}
    of_self = (n for n in nodes if isinstance(n, ast.Attribute) and is_stored(n))
    return names | {n.attr for n in of_self if ast.unparse(n.value) in ("self", "cls")}


def underscored(tree: ast.Module) -> Iterator[str]:
    """Words that may be a private name: imported, behind a dot, a keyword, or a text that names an
    option or an attribute.
    """
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module), names=names) if not OURS.match(module):
                yield from (alias.name for alias in names)
            case ast.Attribute(attr=word) | ast.keyword(arg=str(word)):
                if not isinstance(node, ast.Attribute) or not is_own(node):
                    yield word
            case ast.Dict(keys=texts) | ast.Call(args=[_, *texts]):
                yield from (str(t.value) for t in texts if isinstance(t, ast.Constant))


def is_own(node: ast.Attribute) -> bool:
    return ast.unparse(node.value) in ("self", "cls", "super()")


def from_internal(tree: ast.Module) -> Iterator[str]:
    """What is imported from modules that are private or have no reference."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = [(node.module, alias.name) for alias in node.names]
        else:
            continue
        for module, name in modules:
            whole = f"{module}.{name}"
            if INTERNAL.match(whole) or re.search(r"\._[a-z]", module):
                yield name or module.rpartition(".")[2]


def left_out(file: str, text: str) -> set[str]:
    """The private names of others in a file that `USED` lacks for it."""
    tree = ast.parse(text)
    private = {word for word in underscored(tree) if re.fullmatch(r"_[a-z]\w*[a-z0-9]", word)}
    names = private - made_here(tree) - DOCUMENTED | set(from_internal(tree))
    if re.search(r"^\s*(import|from) (ray|optuna|mlflow|numba)\b", text, re.M):
        names |= set(inherited(tree))
    listed = {word for name in USED.get(file, ()) for word in re.findall(r"\w+", name)}
    return names - listed


def test_no_private_name_is_left_out() -> None:
    """Of all files: an import from a private module, a word with an underscore that is not our own,
    and whatever a class takes from one of Ray, Optuna, MLflow or numba above it.
    """
    paths = [path for room in ("search", "recsys") for path in (ROOT / room).rglob("*.py")]
    texts = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}
    left = {file: found for file, text in texts.items() if (found := left_out(file, text))}
    assert left == {}


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("from numba._dispatcher import Dispatcher", "Dispatcher"),
        ("from numba.core import cgutils", "cgutils"),
        ("from numba import _helperlib", "_helperlib"),
        ("import mlflow.store.db.utils", "utils"),
        ("from mlflow import server", "server"),
        ("import torch\ntorch._dynamo.reset()", "_dynamo"),
        ("import numba\nnumba.njit(_nrt=False)", "_nrt"),
        ("options = {'_nrt': False}", "_nrt"),
        ("getattr(frame, '_mgr')", "_mgr"),
        ("import numba\nclass A(numba.B):\n    def f(self): self.g()", "g"),
    ],
)
def test_a_private_name_is_found(line: str, name: str) -> None:
    assert left_out("recsys/new.py", line) == {name}
