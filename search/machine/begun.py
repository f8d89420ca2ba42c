"""Which tasks have begun on a cluster: Ray tells the driver only that they have ended.

A worker writes a key into the store that the head keeps for the whole cluster; the driver reads
them where nothing has ended for a while. The key names the node too: a task whose node is gone is
waiting again.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from contextlib import suppress
from typing import Any

SPACE = "recsearch"  # the namespace of our keys


class Begun:
    """The tasks of one map that have begun."""

    def __init__(self, name: str) -> None:
        """name: of the map; no other one of this cluster has it."""
        self._prefix = f"{name}/"

    def key(self, index: int) -> str:
        """What `telling` is given for the task `index`."""
        return f"{self._prefix}{index}"

    def on(self, nodes: Container[str]) -> set[int]:
        """The indices of the tasks that have begun on one of these nodes (ids); none where the head
        does not answer.
        """
        from ray.experimental.internal_kv import _internal_kv_list

        try:
            keys = _internal_kv_list(self._prefix, namespace=SPACE)
        except Exception:  # Ray has many for a head that is gone, and ends the driver soon
            return set()
        found = (key.decode().removeprefix(self._prefix).split("/") for key in keys)
        return {int(index) for index, node in found if node in nodes}

    def forget(self) -> None:
        """Remove the keys."""
        from ray.experimental.internal_kv import _internal_kv_del

        with suppress(Exception):
            _internal_kv_del(self._prefix, del_by_prefix=True, namespace=SPACE)


def telling(key: str, function: Callable[..., Any], *task: Any) -> Any:
    """In a worker: note that the task of this key has begun here, then do it."""
    import ray
    from ray.experimental.internal_kv import _internal_kv_put

    with suppress(Exception):  # the task matters more
        node = ray.get_runtime_context().get_node_id()
        _internal_kv_put(f"{key}/{node}", b"", namespace=SPACE)
    return function(*task)
