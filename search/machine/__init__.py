"""Ray as a machine: starting or joining it, and what it may use of this one.

`cluster` is a running Ray that maps tasks to workers, its servers started by `lean`.
Options go in; a `Cluster` with its `Resources` comes out, or a ConfigError in one line.

This machine: `cores` and `memory` count what may be used, within its `cgroups`; `environment` keeps
other people's variables out; `ray_folder` finds a place for Ray's files, `storage` one for Tune's.
A cluster: `head` asks whether anybody answers at an address, `nodes` which machines can work (in a
program of its own, `ask_nodes`); `shipping` sends them our code. `place` checks all of it before a
run folder exists, and `limits` what Ray would end without; `workers` says why workers do not start.
`usage`: how busy this machine is while a search runs.
A run that was a job on a cluster is brought here by `jobs`, which has `pack_run` run there.

Others import: cluster, cores, environment, jobs, lean, memory, nodes, place, ray_folder, storage,
usage, workers.

May import: record, the leaves, and recsys.
"""
