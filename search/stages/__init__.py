"""What a run goes through: search, race, test, refit, result.

`context` has what every stage needs, and the search itself; `lineup` says who races and for how
long, `race` (with `replicates`, the work of it) decides the winner, `test` reads the test items
once, `refit` trains on everything and writes the submission, `result` is the summary; `winner`
trains the winner for the last two; `catalogue` keeps ids and seen items beside the model.

May import: tune, machine, record, space, screen, and the leaves.
"""
