"""Ed25519 by OpenSSL, compared with RFC 8032 and with another library."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from chaski_runtime.ed25519 import PrivateKey

# RFC 8032 §7.1, tests 1 and 3: seed, public key, message, signature
VECTORS = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]


@pytest.mark.parametrize(("seed", "public", "data", "signature"), VECTORS)
def test_the_vectors_of_the_rfc(seed: str, public: str, data: str, signature: str) -> None:
    """Public key and signature."""
    key = PrivateKey(bytes.fromhex(seed))
    assert (key.public_bytes().hex(), key.sign(bytes.fromhex(data)).hex()) == (public, signature)


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=5_000))
def test_another_library_verifies_every_signature(seed: bytes, data: bytes) -> None:
    """With the public key that it derives itself; signatures are deterministic, so they are equal too."""
    key, other = PrivateKey(seed), Ed25519PrivateKey.from_private_bytes(seed)
    other.public_key().verify(key.sign(data), data)
    assert key.public_bytes() == other.public_key().public_bytes_raw()


def test_keys_are_equal_by_their_seeds() -> None:
    """A file that is read again with the same contents is the same key."""
    assert PrivateKey(b"a" * 32) == PrivateKey(b"a" * 32) != PrivateKey(b"b" * 32)
    assert len({PrivateKey(b"a" * 32), PrivateKey(b"a" * 32)}) == 1
    assert "aaaa" not in repr(PrivateKey(b"a" * 32))


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_seed_of_another_length_is_refused(size: int) -> None:
    """And not repeated."""
    with pytest.raises(ValueError, match="has 32 bytes"):
        PrivateKey(b"x" * size)
