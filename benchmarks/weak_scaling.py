"""Trials a minute on one machine of one core, and on two: is a second machine twice the search?

    python -m benchmarks.weak_scaling                   # 12 trials a machine, two rounds
    python -m benchmarks.weak_scaling --trials 20 --rounds 3

The machines are namespaces on this host (root is needed, and what the tests need), each with a
raylet that gives one core away; a third, which gives none away, has the driver. Every trial trains
as many epochs of the same shape on planted data of the size of MovieLens-100K, and none is stopped
early. What counts is the time from the first trial's beginning to the last one's end, from the
journal, so that joining is not part of it. Target: two are 1.9 times one. On two cores the driver
works beside two workers. Two trainings at once are also slower where cores share caches and memory:
how much a trial's own seconds grew says what a search that loses nothing would have reached here.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
from dataclasses import dataclass

from benchmarks.contest import used_by_others, wait_until_idle
from tests.cluster.machines import PORT, PYTHON, ROOT, Machines, missing
from tests.cluster.searching import join, start_head

TARGET = 1.9
SPACE = """
searcher: random
scheduler: none
metric: map@50
max_epochs: {epochs}
race: {{finalists: 0}}
params:
  loss: bpr
  neg_mode: hard
  num_candidate_neg_samples: 30
  hard_fraction: 0.2
  num_random_neg_samples: 3
  optimizer: adagrad
  batch_size: 1
  latent_factors: 64
  patience: 0
  lr: {{low: 0.02, high: 0.021}}
"""


DATA = """
import numpy as np
from recsys.data import planted
csr = planted(943, 1682, 80_000, rng=np.random.default_rng(1)).csr
lines = (f"{u},{i}\\n" for u in range(csr.n_users) for i in csr.row(u))
open("/tmp/weak.csv", "w").write("user,item\\n" + "".join(lines))
"""


@dataclass(frozen=True)
class Measured:
    """What a search on some machines took. seconds: from the first trial's beginning to the last
    one's end; busy: seconds of its trials.
    """

    trials: int
    seconds: float
    busy: float

    @property
    def a_minute(self) -> float:
        return 60 * self.trials / self.seconds


def measure(nodes: int, trials: int, epochs: int) -> Measured:
    """A search of `trials` a machine on so many machines."""
    with Machines() as machines:
        head = start_head(machines)
        for number in range(nodes):
            join(machines, f"w{number}")
        space = SPACE.format(epochs=epochs)
        words = "--space /tmp/weak.yaml --data /tmp/weak.csv --runs-dir /tmp/runs --run weak"
        words += f" --trials {trials * nodes} --tracking-uri sqlite:////tmp/weak.db"
        words += f" --address {head.address}:{PORT}"
        line = f"cat >/tmp/weak.yaml <<'E'\n{space}E\ncat >/tmp/weak.py <<'E'\n{DATA}E\n"
        line += f"cd {ROOT} && PYTHONPATH=. {PYTHON} /tmp/weak.py && {PYTHON} run_search.py {words}"
        done = head.run(line, timeout=3600)
        if done.returncode:
            sys.exit(
                f"the search failed ({done.returncode}): {(done.stdout + done.stderr)[-3000:]}"
            )
        ask = (
            "import json; from pathlib import Path; from search.record.journal import read_state; "
            "s = read_state(Path('/tmp/runs/weak/journal.jsonl')); print(json.dumps("
            "[(t.started, t.ended, t.busy_s, t.state, t.epochs) for t in s.in_order()]))"
        )
        told = head.run(f'cd {ROOT} && {PYTHON} -c "{ask}"')
        if told.returncode:
            sys.exit(f"the journal cannot be read: {told.stderr[-3000:]}")
        rows = json.loads(told.stdout)
    if any(row[3:] != ["COMPLETE", epochs] for row in rows) or len(rows) != trials * nodes:
        sys.exit(f"expected {trials * nodes} whole trials of {epochs} epochs, got {rows}")
    began, ended = min(row[0] for row in rows), max(row[1] for row in rows)
    return Measured(len(rows), ended - began, sum(row[2] for row in rows))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=12, help="of each machine")
    parser.add_argument("--epochs", type=int, default=60, help="of a trial")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--wait", type=float, default=0, help="seconds to wait for an idle machine")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the machines end with us
    if (why := missing()) is not None:
        sys.exit(f"no machines can be made here: {why}")
    wait_until_idle(options.wait)
    others = used_by_others(2.0)
    ratios, possible = [], []
    for number in range(options.rounds):
        one, two = (measure(nodes, options.trials, options.epochs) for nodes in (1, 2))
        ratios.append(two.a_minute / one.a_minute)
        possible.append(2 * (one.busy / one.trials) / (two.busy / two.trials))
        for nodes, found in ((1, one), (2, two)):
            print(
                f"round {number + 1}, {nodes} of one core: {found.trials} trials in "
                f"{found.seconds:.1f} s, {found.a_minute:.2f} a minute, workers busy "
                f"{found.busy / (nodes * found.seconds):.0%} of it, "
                f"{found.busy / found.trials:.2f} s a trial",
                flush=True,
            )
    print(f"others used {others:.0%} of the cores before")
    ratio = statistics.median(ratios)
    machine = statistics.median(possible)
    print(f"by the seconds of a trial at most {machine:.2f} x, of which {ratio / machine:.0%}")
    print(f"two are {ratio:.2f} x one (target {TARGET}, {'met' if ratio >= TARGET else 'MISSED'})")


if __name__ == "__main__":
    main()
