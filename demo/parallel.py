"""A few things at a time, and nothing more once one of them ends the run."""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import TypeVar

Subject = TypeVar("Subject")
Result = TypeVar("Result")


def for_each(
    subjects: Sequence[Subject], call: Callable[[Subject], Result], *, at_once: int
) -> Generator[tuple[Subject, Future[Result]], None, None]:
    """Call with every subject in threads; each is given with its outcome, the first done first.

    When the caller stops early (an error, Ctrl-C), calls that have not begun never begin.
    """
    with ThreadPoolExecutor(max_workers=at_once) as threads:
        waiting = {threads.submit(call, subject): subject for subject in subjects}
        try:
            for future in as_completed(waiting):
                yield waiting[future], future
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
