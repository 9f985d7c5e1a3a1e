"""The confined child: `python -I pool/airlock/__main__.py SOURCE TARGET CONFINEMENT LIMITS`.

Run as a script, so that its limits hold before anything but the standard library is loaded.
Answers with one line of JSON: {"converted": {...}} or {"refused": {"code", "reason", "recipe"}}.
"""

import errno
import json
import math
import os
import resource
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def main(source: str, target: str, confinement: str, limits: str) -> None:
    """Confine this process, convert, and print the verdict."""
    confine(**json.loads(confinement))
    # -I keeps PYTHONPATH, the user's site-packages and the working directory out of sys.path.
    sys.path.insert(0, str(REPOSITORY))
    print(json.dumps(verdict(Path(source), Path(target), json.loads(limits))))  # noqa: T201


def confine(*, memory_bytes: int, open_files: int, cpu_seconds: float, file_bytes: int) -> None:
    """Give up, for good, all resources beyond these; core dumps, which copy memory, included."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # each further thread would reserve address space
    for resource_kind, value in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_NOFILE, open_files),
        (resource.RLIMIT_CPU, math.ceil(cpu_seconds)),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(resource_kind)
        allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(resource_kind, (allowed, allowed))


def verdict(source: Path, target: Path, limits: dict[str, int | float]) -> dict[str, object]:
    """Convert and describe the result, or why there is none."""
    from dataclasses import asdict

    from pool.airlock.conversion import convert
    from pool.airlock.limits import Limits
    from pool.airlock.refusals import Refused, refused

    try:
        return {"converted": asdict(convert(source, target, limits=Limits(**limits)))}  # type: ignore[arg-type]
    except Refused as error:
        refusal = error
    except MemoryError:
        refusal = refused("airlock-limit", detail="memory")
    except OSError as error:
        if error.errno == errno.EFBIG:
            refusal = refused("airlock-limit", detail="file size")
        else:
            refusal = refused("airlock-fault", detail=errno.errorcode.get(error.errno or 0, "I/O"))
    return {"refused": {"code": refusal.code, "reason": refusal.reason, "recipe": refusal.recipe}}


if __name__ == "__main__":
    main(*sys.argv[1:])
