"""One run from its options to its exit code.

`start` decides whether a run is new, resumed or extended; `session` drives it from
the first line of the journal to the last. `opened` is the only door to a run's data; before the
search, `evidence` says what cannot be measured on them, `weights` what cannot be weighed by them,
`need` what does not fit into memory and `estimate` how long it will take, and `warm` takes over the
best configs of earlier runs. `signals` ends a run properly on a signal, `restart` resumes it where
Ray died. `refit` is the command that trains a winner on new data, `again` does its work, `since`
says what is new in the data, and `refit_record` writes the run folder.

Others import: estimate, evidence, opened, refit, signals, start.

May import: every room but cli.
"""
