"""Whether the broker is this deployment's alone: two on one take each other's messages."""

from collections import Counter
from collections.abc import Iterator

from kombu.exceptions import KombuError
from sqlalchemy.exc import SQLAlchemyError

from pool.database.heartbeats import living_workers
from pool.database.session import Database
from pool.doctor.findings import Finding, failed, ok
from pool.queue import make_celery
from pool.settings import Settings

ANSWER_WITHIN_S = 2.0
ADVICE = (
    "Give each deployment a broker of its own: another number in redis://host/3, another virtual "
    "host of RabbitMQ. Workers of one deployment need different names (celery -n)."
)


def check_neighbours(settings: Settings) -> Iterator[Finding]:
    """Whether only workers answer on the broker that this database knows, each by its own name."""
    if settings.broker.startswith("filesystem:"):
        return  # its directory lies in MODELPOOL_VAR, beside the database
    database = Database(settings.database)
    try:
        celery = make_celery(settings)
        answers = celery.control.ping(timeout=ANSWER_WITHIN_S) or []
        with database.read() as session:
            known = {row.id for row in living_workers(session, heartbeat_s=settings.heartbeat_s)}
    except (KombuError, OSError, SQLAlchemyError):
        return  # the checks of broker and database say what is wrong
    finally:
        database.dispose()
    names = Counter(name for answer in answers for name in answer)
    for name in sorted(names.keys() - known):
        detail = f"worker {name} answers on this broker and is none of this database's"
        yield failed("neighbours", detail, ADVICE)
    for name in sorted(name for name, count in names.items() if count > 1):
        yield failed("neighbours", f"{names[name]} workers answer by the name {name}", ADVICE)
    if not names.keys() - known and max(names.values(), default=1) == 1:
        yield ok("neighbours", f"{len(names)} workers answer, all of this deployment")
