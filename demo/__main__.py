"""`python -m demo`: the main job, told step by step."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from demo import server
from demo.errors import DemoError

INTERRUPTED = 130
ALGORITHM = "multi_teacher"


def main() -> int:
    """Run the demo, or stop its server; the process's exit code."""
    options = read_options()
    earlier = server.running()
    if options.exit and earlier is not None:
        server.stop(earlier)
        print(f"The demo's server at {earlier.url} is stopped. Its state stays in {server.VAR}.")
        return 0
    if options.exit and server.forget():
        print("The demo's server of an earlier run has ended already. Run again for the demo.")
        return 0
    # Imported late: torch takes seconds, and whoever stops the server need not wait for it.
    from demo.journey import make_plan, run

    try:
        return run(make_plan(options), port=options.port, leave_up=not options.exit)
    except DemoError as error:
        print(f"\nThe demo cannot go on.\n{error}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        code = INTERRUPTED
    left = server.running()
    if left is not None and options.exit:
        server.stop(left)
    elif left is not None:
        print(f"\nThe server at {left.url} is still up; `make demo EXIT=1` stops it.")
    return code


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--pool", type=Path, help="a directory of checkpoints with manifests")
    parser.add_argument("--data", type=Path, help="an .npz of labelled images to ask about")
    parser.add_argument("--algorithm", default=ALGORITHM, help="multi_teacher or free")
    parser.add_argument("--preset", help="of the algorithm: tiny, small, ... (default: by mode)")
    parser.add_argument("--episodes", type=int, help="few-shot requests per number of shots")
    parser.add_argument("--port", type=int, help="of the server (default: 8000 or the next free)")
    parser.add_argument("--exit", action="store_true", help="stop the server, now or at the end")
    options = parser.parse_args(arguments)
    if (options.pool is None) != (options.data is None):
        parser.error("--pool and --data go together: models to learn from, images to ask about")
    if options.episodes is not None and options.episodes < 2:
        parser.error("--episodes must be at least 2, for an interval")
    return options


if __name__ == "__main__":
    sys.exit(main())
