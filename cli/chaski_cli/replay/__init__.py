"""`chaski dead-letters replay` and `discard`: choose, show, do, in an order that a crash can't harm.

First pass: every dead letter that the filter finds is judged (`selection.py`, pure), and what can be sent is kept in a
temporary file in the order of acceptance (`spool.py`). A dry run ends here, so it counts what a run would do. Second
pass (`engine.py`, `sending.py`): a small window is claimed in the store, sent, a subject's messages one after the other,
and each dead letter is marked once its queue has acknowledged it; only then comes the next window. The claim fails
where another run has sent a dead letter since the first pass, and waits where another is about to, so that runs at the
same time send each once. After a crash the same command goes on: what is marked is left out, and what was sent without
a mark has the same deduplication id again.
"""
