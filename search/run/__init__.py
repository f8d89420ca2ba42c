"""One run from its options to its exit code.

`start` decides whether it is new, resumed or extended; `session` drives it from the first line of
the journal to the last; `opened` is the only door to a run's data, `evidence` says what can't be
measured on it; `signals` ends it in order, `restart` resumes it where Ray died.

May import: every room but cli.
"""
