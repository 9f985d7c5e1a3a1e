"""What few-shot requests get back: predictions, and what the support set lets expect."""

from typing import Self

from pydantic import BaseModel, Field

from app.inference import STRANGE_FROM, Abstention, Adapted, Answer, Pair
from pool.domain import MetaLearnerStatus


class Prediction(BaseModel):
    """What one query is taken for."""

    label: str
    probabilities: dict[str, float]
    nearest_support: int | None = Field(
        default=None,
        description="Position of the support image that it is most like; null where the "
        "meta-learner does not compare images.",
    )
    abstained: bool = Field(
        default=False, description="Less sure than the asked coverage leaves: better not believed."
    )


class Timing(BaseModel):
    """Where the milliseconds went."""

    decode: float
    adapt_and_predict: float


class AbstentionOut(BaseModel):
    """From which probability on queries were answered."""

    coverage: float = Field(description="As asked.")
    threshold: float = Field(description="Of the most likely class's probability.")
    expected_accuracy: float | None = Field(
        description="Share of the left-out support images above the threshold that is right."
    )

    @classmethod
    def of(cls, abstention: Abstention) -> Self:
        """Its public side."""
        return cls(
            coverage=abstention.asked_coverage,
            threshold=min(abstention.threshold, 1.0),
            expected_accuracy=abstention.expected_accuracy,
        )


class AlikeOut(BaseModel):
    """Two classes that cannot be told apart by these support images."""

    labels: tuple[str, str]
    told_apart: float = Field(
        description="Estimated share of their images that are nearer to their own class; a coin "
        "tells half apart."
    )
    images: int


class OutlookWarning(BaseModel):
    """What to know before believing an answer."""

    code: str = Field(
        description="`support-unlike-pool`, `classes-alike` or `accuracy-not-estimated`."
    )
    message: str


class OutlookOut(BaseModel):
    """What the support set alone lets expect: one image of each class is left out in turn."""

    expected_accuracy: float | None = Field(
        description="Of queries, with one support image fewer of each class; null without two of "
        "any class."
    )
    interval: tuple[float, float] | None = Field(description="95 %, over left-out images.")
    images_left_out: int
    alike: list[AlikeOut]
    strangeness: float | None = Field(
        description="How far the images' statistics lie from those the network was trained on: "
        f"about 0.1 for like images, {STRANGE_FROM} and more is unlike."
    )
    warnings: list[OutlookWarning]

    @classmethod
    def of(cls, adapted: Adapted) -> Self:
        """Its public side, with words for what is amiss."""
        outlook = adapted.outlook
        alike = [_alike(pair, adapted.class_names) for pair in outlook.alike]
        return cls(
            expected_accuracy=outlook.accuracy,
            interval=outlook.interval,
            images_left_out=outlook.images,
            alike=alike,
            strangeness=outlook.strangeness,
            warnings=_warnings(adapted, alike),
        )


def _alike(pair: Pair, names: tuple[str, ...]) -> AlikeOut:
    labels = (names[pair.first], names[pair.second])
    return AlikeOut(labels=labels, told_apart=pair.told_apart, images=pair.images)


def _warnings(adapted: Adapted, alike: list[AlikeOut]) -> list[OutlookWarning]:
    warnings = []
    if adapted.outlook.is_strange:
        warnings.append(
            OutlookWarning(
                code="support-unlike-pool",
                message="These images are unlike anything that this meta-learner's pool knows. "
                "Check that they are not inverted, dark or of another kind, or ask a meta-learner "
                "of a pool that knows such images.",
            )
        )
    for pair in alike:
        first, second = pair.labels
        warnings.append(
            OutlookWarning(
                code="classes-alike",
                message=f"'{first}' and '{second}' can hardly be told apart by these images. Add "
                "images of both that show the difference, or make them one class.",
            )
        )
    if not adapted.outlook.images:
        warnings.append(
            OutlookWarning(
                code="accuracy-not-estimated",
                message="With one image a class, nothing can be left out to see how well the "
                "classes are told apart. Two or more of each say what to expect.",
            )
        )
    return warnings


class PredictionsOut(BaseModel):
    """One prediction per query image, in the order they were sent."""

    predictions: list[Prediction]
    outlook: OutlookOut
    abstention: AbstentionOut | None = Field(description="Where a `coverage` was asked for.")
    timing_ms: float = Field(description="From the whole request's arrival to this answer.")
    stages_ms: Timing
    meta_learner_id: str
    meta_learner_status: MetaLearnerStatus

    @classmethod
    def of(
        cls,
        answer: Answer,
        adapted: Adapted,
        *,
        meta_learner_id: str,
        status: MetaLearnerStatus,
        timing_ms: float,
        adapted_now: bool,
    ) -> Self:
        """Probabilities by label, the most likely one first named."""
        return cls(
            predictions=_predictions(answer),
            outlook=OutlookOut.of(adapted),
            abstention=AbstentionOut.of(answer.abstention) if answer.abstention else None,
            timing_ms=timing_ms,
            stages_ms=Timing(
                decode=answer.decode_ms + (adapted.decode_ms if adapted_now else 0.0),
                adapt_and_predict=answer.predict_ms + (adapted.adapt_ms if adapted_now else 0.0),
            ),
            meta_learner_id=meta_learner_id,
            meta_learner_status=status,
        )


def _predictions(answer: Answer) -> list[Prediction]:
    predictions = []
    answered = answer.abstention.answered if answer.abstention else None
    for place, row in enumerate(answer.probabilities):
        by_label = dict(zip(answer.class_names, row, strict=True))
        predictions.append(
            Prediction(
                label=max(by_label, key=by_label.__getitem__),
                probabilities=by_label,
                nearest_support=None if answer.nearest is None else answer.nearest[place],
                abstained=answered is not None and not answered[place],
            )
        )
    return predictions
