"""A model of what configs reach, and the configs that it proposes.

`cube` turns configs into rows of numbers, `gaussian` learns from rungs and ends what rows reach,
`proposer` looks for the row of which most is expected. Comes in: the space, trials as they begin,
report and end. Goes out: the parameters of the next trial. A cube is of one method's space, and the
numbers of a process are its own: nothing here knows Ray or Optuna.

Others import: proposer.

May import: record, space, lengths, new_configs and trials of propose, and recsys.
"""
