"""`python -m tests.campaign`: load, targets that record, faults drawn from a seed, and a judge that is separate from the product.

Modules: `plan` (messages and expected results), `target` (a process that records every request), `load` (producers), `programs`
(the processes of Chaski), `machine`, `faults`, `run` (one campaign), `evidence`, `judge` and `order` (pure), `violations`, `command`.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as with pytest: imports of `campaign`, `support`

if __name__ == "__main__":
    from campaign.command import main

    sys.exit(main())
