"""The winner of a search in MLflow's registry: a pyfunc model, a version, the alias `champion`."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import recsys
from recsys.errors import ConfigError
from recsys.models.catalogue import load_ids
from search.record.folder import JOURNAL
from search.record.handed import MODEL, model_digest
from search.record.journal import read_state
from search.record.measured import TEST_VALUES
from search.record.state import RunState
from search.summary import member_words, test_words, tested_words
from search.tracking import wanted
from search.tracking.memory import Delivered, Registration
from search.tracking.store import Store, open_store, scratch
from search.tracking.succession import ALIAS, succession, versions_of
from search.words import config_line, utc

PREVIOUS, ARTIFACT = "previous", "model"
NEEDS = ("mlflow", "numba", "numpy", "pandas", "platformdirs", "pydantic", "scipy", "torch")
INPUTS = ("user_id", "items", "similar_to")
_EXISTS = ("RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS")


def deliver_model(run_dir: Path, state: RunState, store: Store, done: Delivered) -> None:
    """Log and register the model in `run_dir`/model, once per content; sets `done.model`.

    A run without a model (report tables) has nothing to deliver. Every step may be repeated.
    """
    folder = run_dir / MODEL
    if (digest := model_digest(folder)) is None:
        return
    if done.model is not None and done.model.digest == digest:
        return
    client, name = store.client, wanted.model_name(state)
    tags = {wanted.UID_TAG: state.uid, "weights": digest, "finished": utc(state.finished) or ""}
    versions = versions_of(client, done.run_id)
    version_found = _version(versions, name, digest)
    if version_found is None:
        # an earlier version, of a search that was extended since, keeps its files
        place = f"{ARTIFACT}-{digest[:8]}" if versions else ARTIFACT
        _log_pyfunc(run_dir, folder, store, done.run_id, place)
        try:
            client.create_registered_model(name)
        except Exception as error:
            if getattr(error, "error_code", None) not in _EXISTS:
                raise
        source = f"{client.get_run(done.run_id).info.artifact_uri}/{place}"
        version_found = client.create_model_version(
            name, source, done.run_id, tags=tags, await_creation_for=None
        )
    number = str(version_found.version)
    found = succession(client, name, run_dir, state, digest)
    if found.leads:
        _crown(client, name, number)
    client.update_model_version(name, number, _described(run_dir, found.why))
    done.model = Registration(digest, name, number, found.leads, found.why, found.open)


def _described(run_dir: Path, why: str) -> str:
    """The description of a version: what its model reaches, its config, and whether it leads."""
    result = wanted.known_result(run_dir)
    if result is None:
        return why
    said = [f"Run {result.run or run_dir.name}, {result.data or 'data'}"]
    if result.metric is not None:
        name, value, ci = result.handed_over
        words = tested_words(value, ci, result.test_users)
        if name is not None and result.refit_of is None:
            words = f"{words}; the winner alone {test_words(result)}"
        said.append(f"test {result.metric}{f' of a {name}' if name else ''}: {words}")
    if (blend := result.handed_blend) is not None:
        said.append(" + ".join(map(member_words, blend.members)))
    elif result.best_params:
        said.append(config_line(result.best_params))
    return "\n\n".join([*said, f"When it was registered, {why}"])


def crown(run_dir: Path, uri: str, experiment: str) -> str:
    """Make the version of a run's model the champion, whatever its test said; returns a line on it.

    Raises ConfigError where the store has no version of the model, or where it can't be a champion
    (ADR 54).
    """
    done = Delivered.load(run_dir, uri, experiment)
    state = read_state(run_dir / JOURNAL)
    if wanted.won_by_leak(state, wanted.known_result(run_dir)):
        raise ConfigError(f"{run_dir.name}: its winner was chosen with knowledge of held-out items")
    digest = model_digest(run_dir / MODEL)
    client, name = open_store(uri, experiment).client, wanted.model_name(state)
    found = None
    if digest and done.run_id:
        found = _version(versions_of(client, done.run_id), name, digest)
    if digest is None or found is None:
        raise ConfigError(f"{run_dir.name}: MLflow has no version of its model")
    _crown(client, name, str(found.version))
    why = "it was made the champion"
    done.model = Registration(digest, name, str(found.version), leads=True, why=why)
    done.save(run_dir)
    return done.registered(run_dir) or ""


def _crown(client: Any, name: str, version: str) -> None:
    """Make a version the champion; the one before gets the alias `previous`, to go back to."""
    before = client.get_registered_model(name).aliases.get(ALIAS)
    if before is not None and str(before) != version:
        client.set_registered_model_alias(name, PREVIOUS, str(before))
    client.set_registered_model_alias(name, ALIAS, version)


def is_registered(client: Any, done: Delivered) -> bool:
    """Whether the registry still has the version of `done.model`, and a champion under its name."""
    model = done.model
    if model is None:
        return False
    if _version(versions_of(client, done.run_id), model.name, model.digest) is None:
        return False
    return ALIAS in client.get_registered_model(model.name).aliases


def _version(versions: Sequence[Any], name: str, digest: str) -> Any:
    """Of some versions, the one registered under this name with these weights, if any."""
    for found in versions:
        if found.name == name and found.tags.get("weights") == digest:
            return found
    return None


def _log_pyfunc(run_dir: Path, folder: Path, store: Store, run_id: str, place: str) -> None:
    """Save the pyfunc and log it, with the test values beside it, as the artifact `place` of the
    search's run.
    """
    with scratch(run_dir) as temp:
        path = Path(temp) / ARTIFACT
        save_pyfunc(folder, path)
        if (values := run_dir / TEST_VALUES).is_file():
            shutil.copyfile(values, path / TEST_VALUES)
        store.client.log_artifacts(run_id, str(path), place)


def save_pyfunc(folder: Path, path: Path) -> None:
    """Write the model in `folder` as a pyfunc, into a new folder at `path`."""
    import mlflow.pyfunc

    users, items = load_ids(folder)
    mlflow.pyfunc.save_model(
        path,
        python_model=str(Path(__file__).with_name("pyfunc.py")),
        artifacts={"model": str(folder)},
        signature=_signature(items),
        input_example=(_example(users, items), {"k": 10}),
        pip_requirements=[f"{p}=={version(p)}" for p in NEEDS],
        code_paths=[str(Path(recsys.__file__).parent)],
    )


def _signature(items: NDArray) -> Any:
    """The signature of the model. Ids may have any type: numbers are floats in a column with gaps,
    unknown users have any name.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType, Array

    numbers = len(items) > 0 and items.dtype == np.int64
    item = DataType.long if numbers else DataType.string
    return ModelSignature(
        inputs=Schema([ColSpec(AnyType(), name, required=False) for name in INPUTS]),
        outputs=Schema(
            [
                ColSpec(AnyType(), "user_id", required=False),
                ColSpec(Array(item), "item_ids"),
                ColSpec(Array(DataType.double), "scores"),
                ColSpec(DataType.string, "source"),
                ColSpec(Array(DataType.string), "unknown_items"),
                ColSpec(DataType.long, "unknown_candidates", required=False),
                ColSpec(DataType.long, "unknown_exclude", required=False),
            ]
        ),
        params=ParamSchema(
            [
                ParamSpec("k", DataType.long, 50),
                ParamSpec("exclude_seen", DataType.boolean, True),
                # [None]: not given; an empty list would mean that nothing may be recommended
                ParamSpec("candidates", item, [None], shape=(-1,)),
                ParamSpec("exclude", item, [None], shape=(-1,)),
            ]
        ),
    )


def _example(users: NDArray, items: NDArray) -> Any:
    """An example of input: a known user, someone who likes two items, and items near an item."""
    import pandas as pd

    first = items[:2].tolist()
    rows = [
        {"user_id": users[:1].tolist()[0]},
        {"items": first},
        {"similar_to": first[0]},
    ]
    return pd.DataFrame([{name: row.get(name) for name in INPUTS} for row in rows], dtype=object)
