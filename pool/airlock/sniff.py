"""Which format a file is in, by its first bytes; its name says nothing."""

from pool.airlock.refusals import refused
from pool.airlock.source import Source

SAFETENSORS = "safetensors"
TORCH_ZIP = "torch-zip"

# torch's magic number 0x1950a86a20f9469cfc6c as a pickled long: protocol 2, LONG1, ten bytes.
LEGACY_TORCH = b"\x8a\x0a" + (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!": "rar",
    b"\x04\x22\x4d\x18": "lz4",
}
TEXT_PICKLE = (b"(dp", b"(lp", b"ccollections\n", b"c__", b"ctorch", b"cos\n", b"cposix\n")
TAR_MAGIC_AT = 257


def sniff(source: Source) -> str:
    """Name the format: `SAFETENSORS` or `TORCH_ZIP`.

    Raises:
        Refused: Any other format, by its own code where it is recognised.
    """
    head = source.read(0, min(source.size, 512))
    # First of all: a header of 640 bytes begins like a pickle, one of 35,615 like gzip.
    if head[4:9] == b"\x00\x00\x00\x00{":
        return SAFETENSORS
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x01\x02")):
        return TORCH_ZIP
    _refuse_known(head)
    if head[8:9] == b"{":
        return SAFETENSORS
    raise refused("unrecognised-format")


def _refuse_known(head: bytes) -> None:
    for magic, name in COMPRESSED.items():
        if head.startswith(magic):
            raise refused("compressed-file", format=name)
    if head[TAR_MAGIC_AT : TAR_MAGIC_AT + 5] == b"ustar":
        raise refused("tar-archive")
    is_pickle = head[:1] == b"\x80" and head[1:2] <= b"\x05"
    if is_pickle and LEGACY_TORCH in head[:32]:
        raise refused("legacy-torch")
    if is_pickle or head.startswith(TEXT_PICKLE):
        raise refused("raw-pickle")
