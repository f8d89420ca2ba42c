"""Which config a search tries next, from what earlier trials reached.

`proposers` says what learns from trials, by the searcher of a space: TPE as Optuna has it, or the
Gaussian process of the room `surrogate`. `methods` has one of them for each method of a space,
`allocation` says which method is next. `lengths` is what they know of how long trials are,
`trials` what is known of a trial, `new_configs` finds what was not tried. What does so with Optuna
alone knows it: `study` has the trials of a run (`study_journal`: as a file), `distributions` its
parameters, `samplers` what draws (`tails`: a patch that makes it fast), `redraw` until a config is
new, `memory` what is seen of many trials. `importance` asks the surrogate which parameters
mattered. Comes in: the space, and trials as they begin, report and end. Goes out: parameters.
Nothing here knows Ray.

Others import: allocation, distributions, importance, lengths, memory, methods, new_configs,
proposers, study, study_journal, trials.

May import: record, space, the leaves, and recsys.
"""
