"""MLflow: everything that is delivered there, and the server of its UI.

The driver's side imports no mlflow: `driver` starts the courier and asks how far it is, `address`
checks where a store is, `database` whether its file can be used, `memory` what has arrived.
`courier` is a process of its own; with `delivery`, `wanted` (what should be there), `store`,
`champion`, `pyfunc`, `moved` and `verify` it brings the journal to MLflow. `ui` serves the pages.

May import: record, the summary, and the leaves (guard, paste, paths, words).
"""
