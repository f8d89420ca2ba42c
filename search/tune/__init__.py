"""The trials of a search, under Ray Tune.

`tuner` runs the trials and journals every event. `worker` is one trial inside a
worker process (`checkpoints`: from where a long one continues), `replicate` a finalist on one fresh
split. `searcher` hands out the configs that the room propose chooses, and tells it what became of
them. `scheduler` stops the weak, `outcome` judges how a trial ended, `settled` whether more trials
would still gain. `probe` measures what an epoch costs, `pace` makes lengths of trials of that
(`lengths`: for what proposes), `work` says what costs are in operations, `sampling` which users are
evaluated; `reserve` keeps time for the later stages, `need` says how much memory a trial takes.
`controller` and `reports` mend Ray's control loop and make it faster.

Others import: checkpoints, lengths, need, outcome, pace, probe, replicate, reserve, sampling,
scheduler, searcher, settled, tuner, work, worker.

May import: machine, propose, record, space, the leaves, and recsys.
"""
