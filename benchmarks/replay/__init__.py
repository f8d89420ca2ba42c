"""Searches replayed in simulated time against trainings that were recorded once.

`record` trains configs of a space to their end and keeps every epoch; `world` answers what any
config of the space would have done; `clock` runs searchers and schedulers on it, those that ship
and others; `run` is the command, with a table and a plot; `race` says what finalists
on fresh splits gain.
"""
