"""Bytes that nobody can read without their key: ChaCha20-Poly1305 (RFC 8439).

Covered: what lies sealed in a store is unreadable there, in its backups and in old versions of it,
and cannot be put in another's place. Not covered: whoever holds the key and the bytes.
"""

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from pool.errors import ObjectMissing

NONCE_BYTES = 12


def new_key() -> bytes:
    """A key to seal one thing with."""
    return ChaCha20Poly1305.generate_key()


def seal(data: bytes, *, key: bytes, purpose: str) -> bytes:
    """Encrypt; `purpose` must be said again to open it."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + ChaCha20Poly1305(key).encrypt(nonce, data, purpose.encode())


def unseal(sealed: bytes, *, key: bytes, purpose: str) -> bytes:
    """What was sealed.

    Raises:
        ObjectMissing: the bytes are not what was sealed with this key for this purpose.
    """
    nonce, rest = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, rest, purpose.encode())
    except (InvalidTag, ValueError) as error:
        raise ObjectMissing("A sealed object was changed or belongs elsewhere.") from error
