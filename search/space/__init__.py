"""What can be searched: a space in YAML, read, checked, overridden by `--set`, and walked.

In: text. Out: `SearchSpec`, and `TrialConfig` for one choice of parameters. `load` is the door;
`reader`, `params`, `located` and `override` turn text into a spec; `spec` and `domains` are what a
spec is made of; `trial` is one trial as values.

May import: recsys, and the leaves (durations, names, paths).
"""
