"""Read multipart forms with limits of our own, in memory or spooled to disk.

Covered: few-shot images are held in memory only, whatever their size; a checkpoint may spool to an
unnamed temporary file. Not covered: swap, which is the operator's to encrypt or switch off.
"""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import Request
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser

from pool.errors import InvalidInput

SPOOL_BYTES = 1024 * 1024


class _InMemoryParser(MultiPartParser):
    """Starlette's parser, which never rolls a part over to disk."""

    spool_max_size = sys.maxsize


class _SpoolingParser(MultiPartParser):
    """Starlette's parser, which keeps large parts in unnamed temporary files."""

    spool_max_size = SPOOL_BYTES


@asynccontextmanager
async def multipart_form(
    request: Request, *, max_files: int, max_fields: int, max_field_bytes: int, in_memory: bool
) -> AsyncGenerator[FormData, None]:
    """The request's form, closed (and so forgotten) on leaving.

    Raises:
        InvalidInput: the body is no multipart form, or has too many or too large parts.
    """
    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/form-data"):
        raise InvalidInput("Send multipart/form-data (curl -F does).", part="content-type")
    parser_type = _InMemoryParser if in_memory else _SpoolingParser
    parser = parser_type(
        request.headers,
        request.stream(),
        max_files=max_files,
        max_fields=max_fields,
        max_part_size=max_field_bytes,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise InvalidInput(f"{error.message}", part="body") from error
    try:
        yield form
    finally:
        await form.close()
