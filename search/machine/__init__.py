"""Ray as a machine: starting or joining it, and what it may use of this one.

`cluster` is the door: a running Ray that maps tasks to workers. `environment` keeps other people's
variables out, `cores` counts what may be used, `ray_folder` finds a place for Ray's files,
`storage` one for Tune's; `head` asks whether anybody answers at an address; `place` checks all of
it before a run folder exists; `workers` says why workers do not start.

May import: record, and the leaves (guard, paste, paths).
"""
