"""One part of an upload, from the request's body to the part store, a block at a time.

The API's memory holds a block or two of it, whatever the part's size; the disk is written to in a
thread, and the client is read no faster than that.
"""

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from pool.errors import PartMismatch
from pool.storage.parts import Part, PartStore, PartWriter

BLOCK_BYTES = 1024 * 1024


async def receive_part(
    request: Request, parts: PartStore, *, token: str, number: int, size: int
) -> Part:
    """Keep the request's body as a part.

    Args:
        request: its body is read here and nowhere before.
        parts: where it goes.
        token: the upload, to the part store.
        number: the part's.
        size: what it must have, in bytes.

    Raises:
        PartMismatch: the body is shorter or longer; an earlier part of this number stays.
        StorageFull, StorageUnavailable: nothing was kept.
    """
    _check_size(request.headers.get("content-length"), number=number, size=size)
    writer = await run_in_threadpool(parts.writer, token, number)
    try:
        received = await _copy_body(request, writer, most=size)
        _check_size(received, number=number, size=size)
        return await run_in_threadpool(writer.commit)
    except ClientDisconnect as error:
        raise PartMismatch(f"The connection ended within part {number}; send it again.") from error
    finally:
        writer.close()  # not in a thread: a canceled request gets none


async def _copy_body(request: Request, writer: PartWriter, *, most: int) -> int:
    """How many bytes there were; of a body that is too long, no more than a block too many."""
    block, received = bytearray(), 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > most:
            return received
        block += chunk
        if len(block) >= BLOCK_BYTES:
            await run_in_threadpool(writer.write, block)
            block = bytearray()
    await run_in_threadpool(writer.write, block)
    return received


def _check_size(found: int | str | None, *, number: int, size: int) -> None:
    """Nothing to say where the length is not declared: the bytes are counted as they come."""
    if found is not None and int(found) != size:
        raise PartMismatch(
            f"Part {number} of this upload has {size:,} bytes, the body has {int(found):,}"
            f"{' or more' if isinstance(found, int) and found > size else ''}. Send the bytes from "
            "the part's `offset` on, without an encoding."
        )
