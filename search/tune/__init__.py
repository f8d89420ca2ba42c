"""The trials of a search, under Ray Tune and Optuna.

`tuner` is the door: it runs the trials and journals every event. `worker` is one trial inside a
worker process (`checkpoints`: from where a long one continues), `replicate` a finalist on one fresh
split. `searcher` proposes configs, of the method that `allocation` gives the next trial to, by
`study`, which alone knows Optuna. `scheduler` stops the weak, `outcome` judges how a trial ended,
`settled` whether more trials would still gain. `probe` measures what an epoch costs, `pace` makes
lengths of trials of that; `reserve` keeps time for the later stages, `need` says how much memory a
trial takes. `controller` and `reports` mend and quicken Ray's control loop.

May import: machine, record, space, the leaves, and recsys.
"""
