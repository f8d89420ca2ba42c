"""The trials of a search, under Ray Tune and Optuna.

`tuner` runs the trials and journals every event. `worker` is one trial inside a
worker process (`checkpoints`: from where a long one continues), `replicate` a finalist on one fresh
split. `searcher` proposes configs, of the method that `allocation` gives the next trial to. What it
does so with alone knows Optuna: `study` has the trials of a run (`study_journal`: as a file),
`distributions` its parameters, `samplers` what proposes (`tails`: a patch that makes it fast),
`new_configs` only what was not tried, `memory` what is seen of many trials. `proposers` says what
learns from trials, that or the Gaussian process of the room `surrogate`, `methods` has one for each
method; `importance` says which parameters mattered. `scheduler` stops the weak, `outcome` judges
how a trial ended, `settled` whether more trials would still gain. `probe` measures what an epoch
costs, `pace` makes lengths of trials of that; `reserve` keeps time for the later stages, `need`
says how much memory a trial takes. `controller` and `reports` mend and quicken Ray's control loop.

Others import: allocation, checkpoints, importance, need, outcome, pace, probe, proposers,
replicate, reserve, scheduler, searcher, settled, study, study_journal, tuner, worker.

May import: machine, record, space, the leaves, and recsys.
"""
