"""Malformed input by the hundred thousand: mutations of valid texts, the same in every run.

Hypothesis shrinks well and is slow; for the bulk a seeded random source picks from texts that are known to confuse parsers.
"""

import random
from collections.abc import Iterator, Sequence

SEED = 20_261_124
#: The number of cases of each fuzzing test; a test checks the sum.
CASES = {
    "urls": 120_000,
    "rules": 60_000,
    "headers": 40_000,
    "envelopes": 40_000,
    "dialled": 4_000,
    "agreement": 202_000,
    "properties": 4_000,
}

HOSTS = [
    *("allowed.example", "prefix.example", "a.wild.example", "a.b.wild.example", "svc.ns.svc", "xn--bcher-kva.example"),
    *("bücher.example", "127.0.0.1", "8.8.8.8", "[::1]", "[2606:4700::1111]", "[::ffff:169.254.169.254]", "localhost"),
    *("169.254.169.254", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "①②⑦.⓪.⓪.①", "127。0。0。1", "a"),
    *(
        "allowed.example.",
        "allowed.example..",
        "-a.example",
        "a_b.example",
        "allowed.example.evil.com",
        "",
        "[",
        "[::1",
    ),
]
PATHS = [
    "",
    "/",
    "/ok",
    "/ok/",
    "/ok/1",
    "/ok/../admin",
    "/ok/%2e%2e/admin",
    "/OK/",
    "//ok/",
    "/a%7Eb/~c?q=%20+x",
    "?x=1",
]
PIECES = [
    *("http", "https", "HTTPS", "ftp", "file", ":", "://", "//", "/", "\\", "@", "#", "?", "%", "%2e", "%2F", "%5c"),
    *(
        "%00",
        "%0d%0a",
        ".",
        "..",
        "*",
        "*.",
        "[",
        "]",
        "::1",
        "%25eth0",
        "。",
        "\uff0e",
        "｡",
        "①",
        "ü",
        "ß",
        "İ",
        "ﬀ",
        "\uff45",
    ),
    *(" ", "\t", "\r\n", "\n", "\x00", "\x7f", "\x85", "\xa0", "\u2028", "\u200b", "\ufeff", "\u202e", "\ud800"),
    *("xn--", "xn--a", "-", "_", ";", "&", "=", "+", "~", "$", "!", "'", '"', "<", "{", "|", "^", "`", "^", ","),
    *(":80", ":443", ":8080", ":0", ":99999", ":+80", ":8_0", ":٨٠", ":", "user@", "user:pass@", "0x", "0", "1", "255"),
    *HOSTS,
]


def source(name: str) -> random.Random:
    """The random source of one test."""
    return random.Random(f"{SEED}:{name}")


def broken(text: str, pieces: Sequence[str], rng: random.Random) -> str:
    """A text after one to four mutations: an insertion, deletion, replacement or repetition."""
    for _ in range(rng.randint(1, 4)):
        at, end = rng.randint(0, len(text)), rng.randint(0, len(text))
        match rng.randrange(6):
            case 0 | 1:
                text = text[:at] + rng.choice(pieces) + text[at:]
            case 2:
                text = text[: min(at, end)] + text[max(at, end) :]
            case 3:
                text = text[:at] + rng.choice(pieces) + text[at + 1 :]
            case 4:
                text = text[:at] + chr(rng.choice((rng.randrange(0x20, 0x7F), rng.randrange(0x2_FFFF)))) + text[at:]
            case _:
                text = text[:at] + text[min(at, end) : max(at, end)] + text[at:]
    return text


def urls(count: int, rng: random.Random, likely: Sequence[str] = ()) -> Iterator[str]:
    """Valid and nearly valid URLs; where `likely` is given, every second one is derived from it."""
    for _ in range(count):
        if likely and rng.random() < 0.5:
            text = rng.choice(likely) + rng.choice(("", "", "1", "ok/x", "../x", "?x=1"))
        else:
            text = rng.choice(("http://", "https://", "HTTP://")) + rng.choice(HOSTS)
            text += rng.choice(("", "", "", ":80", ":443", ":8080", ":")) + rng.choice(PATHS)
        yield broken(text, PIECES, rng) if rng.random() < 0.7 else text


def printable(text: str) -> str:
    """A text in ASCII, for the message of a failing test."""
    return ascii(text[:300])
