"""The trials of a search, under Ray Tune and Optuna.

`tuner` runs the trials and journals every event. `worker` is one trial inside a
worker process (`checkpoints`: where a long one continues from), `replicate` a finalist on one fresh
split. `searcher` proposes configs of the method that `allocation` picks for the next trial. Only
these files know Optuna: `study` has the trials of a run (`study_journal`: as a file),
`distributions` its parameters, `samplers` its samplers (`tails`: a patch that makes TPE fast),
`new_configs` keeps them to configs that were not tried, `memory` limits how many trials they see,
`importance` says which parameters mattered. `proposers` chooses what learns from trials: Optuna or
the Gaussian process of the room `surrogate`; `methods` has one of these for each method.
`scheduler` stops weak trials, `outcome` judges how a trial ended, `settled` whether more trials
would still gain. `probe` measures what an epoch costs, `pace` derives the lengths of trials from
it; `reserve` keeps time for the later stages, `need` says how much memory a trial takes.
`controller` and `reports` mend Ray's control loop and make it faster.

Others import: allocation, checkpoints, importance, need, outcome, pace, probe, proposers,
replicate, reserve, scheduler, searcher, settled, study, study_journal, tuner, worker.

May import: machine, record, space, the leaves, and recsys.
"""
