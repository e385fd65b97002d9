"""The process of `chaski console`, and the sources of the console in `chaski dev`. The only part that opens backends."""
