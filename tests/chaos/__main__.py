"""`python -m tests.chaos`: routes made, changed and deleted while the API server and AWS fail in every way, and a judge.

Modules: `plan` (routes and their steps, pure, from a seed), `gate` (a proxy that injects faults and records every request),
`world` (all processes), `foreign` (objects of others), `load` (makes the steps), `faults` (kinds of faults and their schedule),
`run` (one run), `snapshot` (the end state, and that of an undisturbed operator), `evidence` and `judge` (pure), `command`.
"""

import sys
from pathlib import Path

sys.path.insert(
    0, str(Path(__file__).resolve().parents[1])
)  # as with pytest: imports of `chaos`, `campaign`, `support`

if __name__ == "__main__":
    from chaos.command import main

    sys.exit(main())
