"""What goes through the door to tensors, and what comes back, as plain values.

An adapted classifier is the exception: it is handed out to be kept and handed in again.
"""

from dataclasses import dataclass

from ml import fewshot, outlook


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Adapted:
    """A classifier made of a support set, and what to expect of it."""

    class_names: tuple[str, ...]
    classifier: fewshot.Classifier
    outlook: outlook.Outlook
    n_support: int
    memory_bytes: int
    decode_ms: float
    adapt_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """Images as numbers in a row: [N, C, H, W], float32 in [0, 1] or bytes of 0 to 255."""

    data: bytes
    shape: tuple[int, int, int, int]
    datatype: str
    """FP32 or UINT8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Abstention:
    """From which confidence on queries are answered, and what the support set says of those."""

    asked_coverage: float
    threshold: float
    expected_accuracy: float | None
    answered: tuple[bool, ...]
    """One per query."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the queries are taken for."""

    class_names: tuple[str, ...]
    probabilities: list[list[float]]
    """One row per query, one column per class name."""
    nearest: list[int] | None
    """The support image each query is most like, by position; None where none are compared."""
    abstention: Abstention | None
    decode_ms: float
    predict_ms: float


def abstention_of(
    expected: outlook.Outlook, answers: fewshot.Answers, coverage: float
) -> Abstention:
    """Which queries reach the confidence that a coverage asks for."""
    threshold = expected.threshold(coverage)
    return Abstention(
        asked_coverage=coverage,
        threshold=threshold,
        expected_accuracy=expected.accuracy_above(threshold),
        answered=tuple((answers.probabilities.max(dim=1).values >= threshold).tolist()),
    )


def answer_of(
    adapted: Adapted,
    answers: fewshot.Answers,
    abstention: Abstention | None,
    *,
    decode_s: float,
    predict_s: float,
) -> Answer:
    """Plain numbers of a classifier's tensors."""
    likeness = answers.likeness
    return Answer(
        class_names=adapted.class_names,
        probabilities=answers.probabilities.tolist(),
        nearest=None if likeness is None else likeness.argmax(dim=1).tolist(),
        abstention=abstention,
        decode_ms=decode_s * 1000,
        predict_ms=predict_s * 1000,
    )
