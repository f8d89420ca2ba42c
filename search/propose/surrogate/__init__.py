"""A model of the values that configs reach, and the configs that it proposes.

`cube` turns configs into rows of numbers, `gaussian` learns what rows reach from the values at
rungs and ends, `proposer` looks for the row that promises most. In: the space, and trials as they
begin, report and end. Out: the parameters of the next trial. A cube is of one method's part of a
space. Nothing here knows Ray or Optuna.

Others import: cube, gaussian, proposer.

May import: record, space, lengths, new_configs and trials of propose, and recsys.
"""
