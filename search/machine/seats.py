"""Room for trials and tasks on the nodes of a joined cluster that can work.

Ray gives room wherever there is some, on a node that has just joined too. So what it gives is held
back until the node has answered (`node_watch`), and given back where that node is left out. Room is
a placement group of Ray, by which the driver knows the node.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import ray
from ray.air.execution.resources import ResourceManager, ResourceRequest
from ray.air.execution.resources.placement_group import PlacementGroupAcquiredResources
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

from search.machine.node_watch import NodeWatch

UPDATE_EVERY_S = 0.1


@dataclass
class Seat(PlacementGroupAcquiredResources):
    """Room for one trial or task. node: the id of the node that it is on."""

    node: str


@dataclass(eq=False)
class _Coming:
    """Room that was asked for. node: where Ray gives it, None until it does."""

    group: PlacementGroup
    request: ResourceRequest
    node: str | None = None


class Seats(ResourceManager):
    """Room that was asked for, and room that can be taken; takes the place of Tune's own manager.

    A request says how many cores and so on; which nodes are left out is added here, so that trials
    with equal requests can go on sharing workers when another node is left out.
    """

    def __init__(self, nodes: NodeWatch) -> None:
        self._nodes = nodes
        self._selector = nodes.selector
        self._coming: dict[Any, _Coming] = {}  # by the future that says that it is there
        self._free: defaultdict[ResourceRequest, list[Seat]] = defaultdict(list)
        self._taken: dict[PlacementGroup, Seat] = {}
        self._updated = float("-inf")

    def request_resources(self, resource_request: ResourceRequest) -> None:
        """Ask Ray for room."""
        where = [self._selector] * len(resource_request.bundles) if self._selector else None
        group = placement_group(
            resource_request.bundles, resource_request.strategy, bundle_label_selector=where
        )
        self._coming[group.ready()] = _Coming(group, resource_request)

    def cancel_resource_request(self, resource_request: ResourceRequest) -> None:
        """Take back a request that has not been served, or what it was served with."""
        for future, coming in self._coming.items():
            if coming.request == resource_request:
                self._drop(future)
                return
        remove_placement_group(self._free[resource_request].pop().placement_group)

    def has_resources_ready(self, resource_request: ResourceRequest) -> bool:
        """Whether room for this request can be taken now."""
        if time.monotonic() - self._updated >= UPDATE_EVERY_S:
            self.update_state()
        return bool(self._free[resource_request])

    def acquire_resources(self, resource_request: ResourceRequest) -> Seat | None:
        """Take room; None where there is none yet."""
        if not self.has_resources_ready(resource_request):
            return None
        seat = self._free[resource_request].pop(0)
        self._taken[seat.placement_group] = seat
        return seat

    def free_resources(self, acquired_resource: Any) -> None:
        """Give room back to Ray, with whatever still runs there."""
        del self._taken[acquired_resource.placement_group]
        remove_placement_group(acquired_resource.placement_group)

    def get_resource_futures(self) -> list[Any]:
        """What to wait for: room that Ray has not given yet."""
        return [future for future, coming in self._coming.items() if coming.node is None]

    def update_state(self) -> None:
        """See which room has come, and which of it can be taken or has to be given back."""
        self._updated = time.monotonic()
        self._nodes.look()
        if self._nodes.selector != self._selector:
            self._selector = self._nodes.selector
            self._leave()
        self._give_back()
        waiting = self.get_resource_futures()
        if waiting:
            for future in ray.wait(waiting, num_returns=len(waiting), timeout=0)[0]:
                self._coming[future].node = node_of_group(self._coming[future].group) or ""
        for future, coming in list(self._coming.items()):
            if coming.node is None:
                continue
            match self._nodes.may_work(coming.node):
                case True:
                    del self._coming[future]
                    seat = Seat(coming.request, coming.group, coming.node)
                    self._free[coming.request].append(seat)
                case False:
                    self._ask_again(future)

    def clear(self) -> None:
        """Give everything back."""
        if not ray.is_initialized():
            return
        for future in list(self._coming):
            self._drop(future)
        for seat in [*self._taken.values(), *(s for some in self._free.values() for s in some)]:
            remove_placement_group(seat.placement_group)
        self._taken.clear()
        self._free.clear()

    def _leave(self) -> None:
        """Take back what was asked for, since a node was left out, and ask anew: Ray may have tried
        to start a worker there in vain, or may do so yet.
        """
        for future in list(self._coming):
            self._ask_again(future)

    def _give_back(self) -> None:
        """Give back free room on nodes that can no longer work, and ask for as much elsewhere."""
        for request, seats in self._free.items():
            for seat in [one for one in seats if self._nodes.may_work(one.node) is False]:
                seats.remove(seat)
                remove_placement_group(seat.placement_group)
                self.request_resources(request)

    def _ask_again(self, future: Any) -> None:
        """Take back what was asked for, and ask for the same anew."""
        request = self._coming[future].request
        self._drop(future)
        self.request_resources(request)

    def _drop(self, future: Any) -> None:
        coming = self._coming.pop(future)
        ray.cancel(future)
        remove_placement_group(coming.group)


def node_of_group(group: PlacementGroup) -> str | None:
    """The id of the node that Ray gives room on; None where it is not there, or no longer."""
    found: str | None = placement_group_table(group).get("bundles_to_node_id", {}).get(0)
    return found or None
