"""Ed25519 signatures (RFC 8032) by the libcrypto that Python's own TLS uses.

Neither Python nor botocore has them, and a signature in Python itself would take 50 times as long and depend on the key's bits.
The functions are documented: OpenSSL 3, EVP_PKEY_new(3) and EVP_DigestSignInit(3). Loaded at the first key.
"""

import ctypes
import functools
from typing import Any

SEED_BYTES = 32
SIGNATURE_BYTES = 64
_LIBRARY = "libcrypto.so.3"  # the name of OpenSSL 3 on Linux
_EVP_PKEY_ED25519 = 1087  # NID_ED25519
_POINTER, _SIZE = ctypes.c_void_p, ctypes.c_size_t


@functools.cache
def _libcrypto() -> Any:
    """OpenSSL's functions, with their types. Raises OSError where there is no OpenSSL 3."""
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise OSError(f"ed25519 needs OpenSSL 3, and {_LIBRARY} can't be loaded: {error}") from error
    sized = ctypes.POINTER(_SIZE)
    for name, result, arguments in (
        ("EVP_PKEY_new_raw_private_key", _POINTER, (ctypes.c_int, _POINTER, ctypes.c_char_p, _SIZE)),
        ("EVP_PKEY_get_raw_public_key", ctypes.c_int, (_POINTER, ctypes.c_char_p, sized)),
        ("EVP_PKEY_free", None, (_POINTER,)),
        ("EVP_MD_CTX_new", _POINTER, ()),
        ("EVP_MD_CTX_free", None, (_POINTER,)),
        ("EVP_DigestSignInit", ctypes.c_int, (_POINTER, _POINTER, _POINTER, _POINTER, _POINTER)),
        ("EVP_DigestSign", ctypes.c_int, (_POINTER, ctypes.c_char_p, sized, ctypes.c_char_p, _SIZE)),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class PrivateKey:
    """A private key; equal to another one of the same seed."""

    def __init__(self, seed: bytes) -> None:
        """Takes a seed of 32 bytes.

        Raises:
            ValueError: it has another length.
            OSError: there is no OpenSSL 3.
            MemoryError: there is no memory for the key.
        """
        if len(seed) != SEED_BYTES:
            raise ValueError(f"an ed25519 seed has {SEED_BYTES} bytes")
        self._library = _libcrypto()
        self._key = self._library.EVP_PKEY_new_raw_private_key(_EVP_PKEY_ED25519, None, seed, len(seed))
        if not self._key:
            raise MemoryError("no memory for an ed25519 key")
        self._seed = seed

    def __del__(self) -> None:
        if key := getattr(self, "_key", None):
            self._library.EVP_PKEY_free(key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PrivateKey) and other._seed == self._seed

    def __hash__(self) -> int:
        return hash(self._seed)

    def public_bytes(self) -> bytes:
        """The public key, 32 bytes."""
        found, size = ctypes.create_string_buffer(SEED_BYTES), _SIZE(SEED_BYTES)
        if self._library.EVP_PKEY_get_raw_public_key(self._key, found, ctypes.byref(size)) != 1:
            raise MemoryError("no memory for an ed25519 public key")
        return found.raw

    def sign(self, data: bytes) -> bytes:
        """The signature of `data`, 64 bytes."""
        context = self._library.EVP_MD_CTX_new()
        signature, size = ctypes.create_string_buffer(SIGNATURE_BYTES), _SIZE(SIGNATURE_BYTES)
        try:
            made = context and self._library.EVP_DigestSignInit(context, None, None, None, self._key) == 1
            if not made or self._library.EVP_DigestSign(context, signature, ctypes.byref(size), data, len(data)) != 1:
                raise MemoryError("no memory for an ed25519 signature")
        finally:
            self._library.EVP_MD_CTX_free(context)
        return signature.raw
