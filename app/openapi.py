"""Print the API's OpenAPI document: `python -m app.openapi`."""

import json
import sys
from tempfile import TemporaryDirectory

from app.main import create_app
from pool.settings import Settings


def main() -> None:
    """Write it to standard output, keys in the order of the code."""
    with TemporaryDirectory() as directory:
        app = create_app(Settings(var=directory))
        sys.stdout.write(json.dumps(app.openapi(), indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
