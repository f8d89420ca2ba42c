"""The report's quick start, which `run.sh` runs: one training, one plot, one submission.

`main.py` is the program, `settings.py` reads its three YAML files (`config/` by default). It may
import all of recsys; nothing imports it.
"""
