"""What can be searched: a space in YAML, read, checked, overridden by `--set`, and walked.

In: text. Out: `SearchSpec`, and `TrialConfig` for one choice of parameters. `load` is where a space
is read; `reader`, `params`, `located` and `override` turn text into a spec; `spec` and `domains`
are what a spec is made of, `strategies` the words for how it is walked; `trial` is one trial as
values; `kept` is what a run keeps of its space.
`effect` refuses a setting without effect, `widen` says what an extended search may change, and
`schema` tells editors what a space can say.

Others import: domains, effect, kept, load, spec, strategies, trial, widen.

May import: the leaves, and recsys.
"""
