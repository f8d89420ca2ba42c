"""The trials of a search, under Ray Tune and Optuna.

`tuner` runs them and journals every event; `worker` is one trial inside a worker process;
`searcher` and `study` propose configs (`study` alone knows Optuna); `scheduler` stops the weak;
`outcome` judges how a trial ended; `controller` mends Ray's control loop.

May import: machine, record, space, and the leaf words.
"""
