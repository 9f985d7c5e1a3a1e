"""Few-shot classifiers made of meta-learners, asked, and taken along; one turn after the other."""

import threading
import time
from collections.abc import Sequence
from typing import Literal

import torch

from app.inference.answers import Adapted, Answer, Pixels, abstention_of, answer_of
from app.inference.learners import Learners
from ml import fewshot, outlook
from ml.errors import ImageTooLarge, MlError, NotPortable, UnreadableImage
from ml.fingerprint import lay_out
from ml.portable.learner import (
    archive,
    encoder_operations,
    portable_adaptation,
    portable_learner,
)
from ml.portable.onnx_file import to_onnx
from ml.reporting.packing import pack
from pool.errors import InvalidInput, NotExportable
from pool.settings import Settings
from pool.storage.store import ObjectStore

MAX_PACKED_BYTES = 64 << 20


class Inference:
    """Adapts meta-learners to support sets and asks what comes of it; keeps no image."""

    def __init__(self, settings: Settings, store: ObjectStore) -> None:
        self._learners = Learners(store, most=settings.meta_learners_in_memory)
        self._max_pixels = settings.max_image_pixels
        self._turn = threading.BoundedSemaphore(settings.concurrent_predictions)
        torch.set_num_threads(settings.threads)

    def adapt(
        self,
        object_key: str,
        *,
        support: Sequence[bytes],
        labels: Sequence[str],
        teachers: int | None = None,
    ) -> Adapted:
        """Adapt the meta-learner to encoded support images.

        Args:
            object_key: of the meta-learner.
            support: image files.
            labels: one per support image.
            teachers: of an ensemble, how many members answer; None leaves it to the ensemble.

        Raises:
            InvalidInput: an image cannot be decoded; the part is named, nothing is quoted. Or
                `teachers` is given and the meta-learner is no ensemble.
            StorageUnavailable, ObjectMissing: the meta-learner cannot be fetched.
        """
        learner = self._learners.get(object_key)
        if teachers is not None and not isinstance(learner, fewshot.EnsembleLearner):
            raise InvalidInput(
                "This meta-learner is one network and has no teachers to choose; leave `teachers` "
                "out, or ask a meta-learner whose backbone is `ensemble`.",
                part="teachers",
            )
        class_names = tuple(dict.fromkeys(labels))
        index = {name: position for position, name in enumerate(class_names)}
        with self._turn:
            started = time.perf_counter()
            side = fewshot.decoding_side(learner)
            images = torch.stack(
                self._decode_all(support, "support", side=side, channels=learner.channels)
            )
            decoded = time.perf_counter()
            try:
                classifier = fewshot.classifier_for(
                    learner,
                    images,
                    torch.tensor([index[label] for label in labels]),
                    n_way=len(class_names),
                    teachers_asked=teachers,
                )
            except MlError as error:
                raise InvalidInput(str(error), part="support") from error
            expected = outlook.outlook(learner, classifier, images)
            done = time.perf_counter()
        return Adapted(
            class_names=class_names,
            classifier=classifier,
            outlook=expected,
            n_support=len(support),
            memory_bytes=classifier.memory_bytes,
            decode_ms=(decoded - started) * 1000,
            adapt_ms=(done - decoded) * 1000,
        )

    def ask(
        self, adapted: Adapted, query: Sequence[bytes], *, coverage: float | None = None
    ) -> Answer:
        """Label encoded query images.

        Args:
            adapted: the classifier.
            query: image files.
            coverage: the share of queries to answer, the surest ones; None answers all.

        Raises:
            InvalidInput: an image cannot be decoded; the part is named, nothing is quoted. Or
                the support set does not say below which confidence to abstain.
        """
        classifier, expected = adapted.classifier, adapted.outlook
        if coverage is not None and not expected.images:
            raise InvalidInput(
                "`coverage` needs two support images of a class at least, and a meta-learner that "
                "compares images: only then can some be left out to see how sure answers are.",
                part="coverage",
            )
        with self._turn:
            started = time.perf_counter()
            side, channels = classifier.image_size, classifier.channels
            images = torch.stack(self._decode_all(query, "query", side=side, channels=channels))
            decoded = time.perf_counter()
            answers = classifier.answer(images)
            done = time.perf_counter()
        abstention = None if coverage is None else abstention_of(expected, answers, coverage)
        return answer_of(
            adapted, answers, abstention, decode_s=decoded - started, predict_s=done - decoded
        )

    def ask_pixels(self, adapted: Adapted, pixels: Pixels) -> Answer:
        """Label images that come as numbers.

        Raises:
            InvalidInput: they are not all finite, or not in [0, 1].
        """
        kind = torch.float32 if pixels.datatype == "FP32" else torch.uint8
        with self._turn:
            started = time.perf_counter()
            images = torch.frombuffer(bytearray(pixels.data), dtype=kind).reshape(pixels.shape)
            images = images if kind == torch.float32 else images.float() / 255
            if not bool(((images >= 0) & (images <= 1)).all()):
                raise InvalidInput("FP32 images are numbers from 0 to 1.", part="inputs/images")
            decoded = time.perf_counter()
            answers = adapted.classifier.answer(images)
            done = time.perf_counter()
        return answer_of(
            adapted, answers, None, decode_s=decoded - started, predict_s=done - decoded
        )

    def take_along(
        self, object_key: str, form: Literal["torch", "onnx"], *, adapted: Adapted | None = None
    ) -> bytes:
        """A meta-learner, or an adaptation of it, as a file that needs no server.

        Args:
            object_key: of the meta-learner.
            form: a zip with a script that needs torch alone, or an ONNX file.
            adapted: the adaptation; None takes the meta-learner itself.

        Raises:
            NotExportable: an ensemble, or a learner whose adaptation cannot be written down.
        """
        learner = self._learners.get(object_key)
        with self._turn:
            try:
                portable = (
                    portable_learner(learner)
                    if adapted is None
                    else portable_adaptation(learner, adapted.classifier, adapted.class_names)
                )
                if form == "onnx":
                    return to_onnx(portable, encoder_operations(portable))
                return archive(portable)
            except NotPortable as error:
                raise NotExportable(f"{str(error).capitalize()}.") from error

    @staticmethod
    def lay_out(fingerprints: Sequence[bytes]) -> tuple[list[list[float]], float]:
        """Places of models in two dimensions, and the share of all differences they show."""
        if not fingerprints:
            return [], 1.0
        rows = [torch.frombuffer(bytearray(each), dtype=torch.float32) for each in fingerprints]
        places, kept = lay_out(torch.stack(rows))
        return places.tolist(), kept

    def pack(
        self, images: Sequence[bytes], labels: Sequence[str], *, side: int, channels: int
    ) -> bytes:
        """A validation set as small pictures and numbers, for a build's report to look at.

        Raises:
            InvalidInput: an image cannot be decoded, or they are too many at this size.
        """
        most = MAX_PACKED_BYTES // (channels * side**2)
        if len(images) > most:
            raise InvalidInput(
                f"At the pool's {side} pixels a validation set holds {most} images at most; send "
                "fewer.",
                part="validation",
            )
        with self._turn:
            decoded = self._decode_all(images, "validation", side=side, channels=channels)
        return pack(decoded, labels)

    def _decode_all(
        self, images: Sequence[bytes], part: str, *, side: int, channels: int
    ) -> list[torch.Tensor]:
        decoded = []
        for position, data in enumerate(images):
            try:
                image = fewshot.decode_image(
                    data, size=side, channels=channels, max_pixels=self._max_pixels
                )
            except (UnreadableImage, ImageTooLarge) as error:
                raise InvalidInput(str(error), part=f"{part}[{position}]") from error
            decoded.append(image)
        return decoded
