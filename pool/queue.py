"""Job messages: one task name, a queue per kind of job, nothing in a message but the job's id."""

import logging
from contextlib import suppress
from typing import Any

from celery import Celery
from kombu.exceptions import KombuError

from pool import file_broker
from pool.domain import JobKind
from pool.settings import Settings

log = logging.getLogger(__name__)

RUN_JOB = "modelpool.run_job"
SWEEP = "modelpool.sweep"
ORPHANS = "modelpool.delete_orphans"
QUEUES = {JobKind.ASSEMBLE: "inspect", JobKind.INSPECT: "inspect", JobKind.BUILD: "gpu"}
SWEEP_QUEUE = QUEUES[JobKind.INSPECT]
DAY_S = 24 * 3600
FROM_BEAT = {"queue": SWEEP_QUEUE, "retry": True, "retry_policy": {"max_retries": 1}}
"""Beat keeps one channel for good, and only a retried message gets it a new one: without, RabbitMQ
would not hear from it again once their connection broke."""
ONE_TRY = {"max_retries": 0}
"""To connect: the request that sends the message waits, and the sweep tries again."""


def make_celery(settings: Settings) -> Celery:
    """A Celery application for this deployment's broker; results are kept in SQL, not in it."""
    file_broker.register()
    celery = Celery("modelpool", broker=settings.broker)
    celery.conf.update(
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        task_acks_late=True,
        task_reject_on_worker_lost=False,  # the sweep requeues by the job's row, on every broker
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # a worker waits for its broker, however long
        # RabbitMQ closes the channel of a message not acknowledged within `consumer_timeout`,
        # 30 min, and builds take longer. Celery would end the worker; this way it connects anew.
        broker_channel_error_retry=True,
        broker_connection_timeout=3,
        broker_transport_options=_transport_options(settings),
        task_publish_retry=False,  # a lost message is found by the sweep; a request must not wait
        task_default_queue=SWEEP_QUEUE,
        beat_schedule={
            "sweep": {
                "task": SWEEP,
                "schedule": settings.sweep_every_s,
                "options": {**FROM_BEAT, "expires": 6 * settings.sweep_every_s},
            },
            "orphans": {
                "task": ORPHANS,
                "schedule": settings.orphans_every_s,
                "options": {**FROM_BEAT, "expires": settings.orphans_every_s},
            },
        },
        beat_schedule_filename=str(settings.var_dir / "beat-schedule"),
    )
    return celery


class JobQueue:
    """Sends job ids to workers. Losing a message is harmless; raising would lose the answer."""

    def __init__(self, celery: Celery) -> None:
        self._celery = celery

    def send(self, job_id: str, kind: str) -> None:
        """Tell a worker that the job waits."""
        try:
            self._celery.send_task(RUN_JOB, args=[job_id], queue=QUEUES[JobKind(kind)])
            log.info("job sent", extra={"job_id": job_id, "kind": kind})
        except (KombuError, OSError) as error:
            log.warning(
                "message not sent, the sweep will send it",
                extra={"job_id": job_id, "cause": type(error).__name__},
            )


def _transport_options(settings: Settings) -> dict[str, Any]:
    scheme = settings.broker.partition(":")[0]
    if scheme == "filesystem":
        messages = settings.var_dir / "messages"
        control = messages / "control"
        # One by one: mkdir gives its mode to the last directory only.
        with suppress(OSError):  # a broker that is away keeps nobody from starting
            for directory in (settings.var_dir, messages, control):
                directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        return {
            "data_folder_in": str(messages),
            "data_folder_out": str(messages),
            "control_folder": str(control),
            "polling_interval": 0.3,
        }
    if scheme in ("redis", "rediss"):
        # The job's lease in SQL decides about redelivery, so Redis need not: a day is never.
        return {
            **ONE_TRY,
            "visibility_timeout": DAY_S,
            "socket_connect_timeout": 3,
            "socket_timeout": 30,
            "socket_keepalive": True,
        }
    return dict(ONE_TRY)
