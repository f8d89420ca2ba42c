"""The report's method, written plainly. Options: data, script (its path), factors.

The script is run as it is, on the pairs of this benchmark. Its evaluation, which follows each
epoch, is replaced by waiting for the next request: that gives the time of its epochs alone.
"""

from __future__ import annotations

import importlib.util
import time
from collections import defaultdict
from typing import Any

from serve import Server, options, pairs


def main() -> None:
    server, asked = Server(), options()
    spec = importlib.util.spec_from_file_location("report_reference", asked["script"])
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    users, items, n_users, n_items = pairs(asked["data"])
    positives: dict[int, set[int]] = defaultdict(set)
    for user, item in zip(users.tolist(), items.tolist(), strict=True):
        positives[user].add(item)
    left, wall, cpu = 0, 0.0, 0.0

    def request() -> None:
        nonlocal left, wall, cpu
        left = server.wait()
        if not left:
            raise SystemExit
        cpu, wall = time.process_time(), time.perf_counter()

    def after_epoch(*_: Any) -> float:
        nonlocal left
        left -= 1
        if not left:
            done = {
                "seconds": time.perf_counter() - wall,
                "cpu": time.process_time() - cpu,
                "rows": rows,
                "trained": rows,
            }
            server.answer(**done)
            request()
        return 0.0

    # The first request is answered with the preparation in it: the contest discards it.
    rows = len(users)
    script.load = lambda *_: (positives, n_users, n_items)
    script.split = lambda everything: ({u: sorted(s) for u, s in everything.items()}, {})
    script.mapk = after_epoch
    server.answer(version="as shared")
    request()
    script.main("", "bpr", "hard", asked["factors"], epochs=1_000_000)


if __name__ == "__main__":
    main()
