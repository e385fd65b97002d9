"""Replays dead letters: selects them, sends each again and marks it, in an order that a crash can't harm.

First pass (`engine.prepare`): every dead letter that the filter finds is judged (`selection`, pure), and each message to
send is kept in a temporary file in order of acceptance (`spool`). A dry run ends here, so it counts what a run would do.
Second pass (`engine.Replay`, `sending`): a small window is claimed in the store and sent, one message of a subject after
the other, and each dead letter is marked once its queue has acknowledged the message; only then comes the next window.
The claim fails if another run has sent the dead letter since the first pass, and waits if another run holds it, so
concurrent runs send each dead letter once. After a crash the same command resumes: marked dead letters are skipped, and
a message that was sent but not marked has the same deduplication id again.

`report` and `arguments` are the contract between the command, which writes a report, and the operator, which builds the
command line of a Job and reads its report. The operator's image has neither aws nor embedded: only `backends` imports these.
"""
