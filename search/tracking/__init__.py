"""MLflow: everything that is delivered there, and the server of its UI.

The driver's side imports no mlflow. `driver` is its door: it starts the courier and asks how far
delivery is. `where` says which store a run goes to, `address` what an address names, `database`
whether a store's file can be used, `reach` whether a server answers, `memory` what has arrived.

`courier` is a process of its own, which reads a run folder and brings it to MLflow: `delivery` is
one pass, `wanted` what should be there, `store` the opened store, `champion` and `pyfunc` the
model, `succession` whether it becomes the champion, `description` and `views` how the pages of a
search look; `moved` repairs a store that was moved, `verify` compares a whole run with MLflow. `ui`
serves the pages, through `ui_server`.

Others import: driver, memory, reach, ui, verify, wanted, where.

May import: record, the summary, the leaves, and recsys.
"""
