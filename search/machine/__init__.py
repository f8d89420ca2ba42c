"""Ray as a machine: starting or joining it, and what it may use of this one.

`cluster` is a running Ray that maps tasks to workers, its servers started by `lean`.
Options go in; a `Cluster` with its `Resources` comes out, or a ConfigError in one line.

This machine: `cores` and `memory` count what may be used, within its `cgroups`; `environment` keeps
out variables that were meant for others; `ray_folder` finds a place for Ray's files, `storage` one
for Tune's. A cluster: `head` finds out whether a Ray answers at an address, `nodes` which machines
can work (through a program of its own, `ask_nodes`); `shipping` sends them our code. `place` checks
all of this before a run folder exists, and `limits` what Ray would otherwise fail on; `workers`
says why workers do not start, and by `room` what waits that no node could hold. `node_watch` asks
nodes that join later, and knows by `leaving` which are told to end; `seats` has room on those that
can work, `tasks` are sent there. `usage`: how busy this machine is while a search runs. `jobs`
fetches a run that was a job on a cluster, by running `pack_run` there. `beat` says lines while
something takes long, `pulse` while the head of a cluster does not answer.

Others import: beat, cluster, cores, environment, jobs, lean, leaving, memory, node_watch, nodes,
place, ray_folder, room, seats, storage, usage, workers.

May import: record, the leaves, and recsys.
"""
