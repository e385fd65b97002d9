import pytest

from chaski_console import formatting


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (formatting.duration(None), "\u2013"),
        (formatting.duration(0), "0 s"),
        (formatting.duration(0.4), "<1 s"),
        (formatting.duration(59.4), "59 s"),
        (formatting.duration(180), "3 min"),
        (formatting.duration(7_200), "2 h"),
        (formatting.duration(200_000), "2 d"),
        (formatting.rate(0), "0"),
        (formatting.rate(0.25), "0.2"),
        (formatting.rate(1234.5), "1,234"),
        (formatting.percentage(None), "\u2013"),
        (formatting.percentage(0.012), "1.2 %"),
        (formatting.percentage(1), "100 %"),
        (formatting.count(12_345), "12,345"),
    ],
    ids=str,
)
def test_numbers_are_formatted(shown: str, expected: str) -> None:
    """With one unit and few digits."""
    assert shown == expected
