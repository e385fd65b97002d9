"""The rules of Chaski: pure values and decisions, without I/O, clock or randomness."""

__version__ = "0.1.0"
