"""What a run goes through: search, race, blend, test, refit, result.

`context` is what every stage needs. `search` runs the trials. `lineup` says who races and
for how long, `race` (with `replicates`, which trains for it, and `going_on`, which says what there
is still time for) decides the winner, `blend` adds up finalists (`lists`: what they leave for it),
`test` reads the test items once, `rivals` trains the models that the winner is compared with there,
`groups` says whom it fails, `refit` trains on everything, `handover` saves that model and writes
its submission, `result` is the summary. `winner` trains the winner for test and refit, `work` sends
tasks to workers, `orders` measures how much the order of the split flatters the winner. Each stage
leaves what it decided in the journal.

Others import: blend, context, groups, handover, lists, race, refit, result, rivals, search, test,
winner.

May import: tune, propose, screen, machine, record, space, the summary, the leaves, and recsys.
"""
