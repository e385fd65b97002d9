"""The table of one route: dead letters and attempt records. Everything here but `reading.py` is pure."""
