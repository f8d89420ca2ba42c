"""The report's quick start, which `run.sh` runs: one training, one plot, one submission.

`main.py` is the program (`__main__` lets Python find it), `settings.py` reads its three YAML files
(`config/` by default).

May import: all of recsys. Nothing imports it.
"""
