"""What a run goes through: search, race, blend, test, refit, result.

`context` has what every stage needs, and the search itself; `lineup` says who races and for how
long, `race` (with `replicates`, the work of it) decides the winner, `blend` adds up finalists
(`lists`: what they leave for it), `test` reads the test items once, `rivals` trains what stands
beside the winner there, `refit` trains on everything and writes the submission, `result` is the
summary; `winner` trains the winner for the last two, `work` sends tasks to workers; `orders`
measures what the order of the split flatters; `catalogue` keeps ids and seen items beside the
model.

May import: tune, machine, record, space, screen, and the leaves.
"""
