"""Random bytes from a reserve."""

import itertools

from chaski_runtime.process.randomness import RandomBytes


def test_no_byte_is_given_twice_and_none_is_short() -> None:
    """Also where the reserve ends between two."""
    reads: list[int] = []
    numbers = itertools.count()

    def read(number: int) -> bytes:
        reads.append(number)
        return b"".join(next(numbers).to_bytes(2) for _ in range(number // 2))

    take = RandomBytes(read)
    taken = [take(10) for _ in range(1_000)]
    assert {len(each) for each in taken} == {10}
    pairs = [each[at : at + 2] for each in taken for at in range(0, 10, 2)]
    assert len(set(pairs)) == len(pairs) == 5_000
    assert set(reads) == {4_096}
    assert len(reads) == 3


def test_the_systems_generator_is_what_is_read() -> None:
    """Two reserves have nothing in common."""
    assert RandomBytes()(64) != RandomBytes()(64)
