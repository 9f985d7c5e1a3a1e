"""Few-shot requests over HTTP: what the served meta-learner gets right, episode by episode."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from demo.api import Api
from demo.episodes import Draw, Slides
from demo.story import Bar

REQUESTS_AT_ONCE = 2


def ask_episodes(
    api: Api, meta_learner_id: str, slides: Slides, draws: Sequence[Draw], bar: Bar
) -> list[float]:
    """One request per episode; the share of its queries answered rightly, 0 to 1, in order."""
    for draw in draws:  # encoded before the threads start, so that each image is encoded once
        slides.png([*draw.support_rows, *draw.query_rows])

    def ask(draw: Draw) -> float:
        answers = api.predict(
            meta_learner_id,
            support=slides.png(draw.support_rows),
            labels=slides.names(draw.support_rows),
            query=slides.png(draw.query_rows),
        )
        truth = slides.names(draw.query_rows)
        right = sum(answer == name for answer, name in zip(answers, truth, strict=True))
        return right / len(truth)

    accuracies = []
    with ThreadPoolExecutor(max_workers=REQUESTS_AT_ONCE) as threads:
        for accuracy in threads.map(ask, draws):
            accuracies.append(accuracy)
            bar.update(len(accuracies) / len(draws), f"{len(accuracies)} of {len(draws)}")
    return accuracies
