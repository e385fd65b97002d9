"""The rules of Chaski: pure values and decisions, without input, output, clock or randomness."""

__version__ = "0.1.0"
