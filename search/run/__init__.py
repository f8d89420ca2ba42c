"""One run from its options to its exit code.

`start` decides whether a run is new, resumed or extended; `session` drives it from
the first line of the journal to the last. `opened` is the only door to a run's data; before the
search, `evidence` says what can't be measured on it, `need` what does not fit into memory and
`estimate` how long it will take, and `warm` takes over the best configs of earlier runs. `signals`
ends a run in order, `restart` resumes it where Ray died. `refit` is the command that trains a
winner on new data, `again` the work of it, `since` what is new in them, `refit_record` the folder
it leaves.

Others import: estimate, evidence, opened, refit, signals, start.

May import: every room but cli.
"""
