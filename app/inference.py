"""The one door to tensors: a small cache of meta-learners, and few-shot prediction.

Covered: images and labels of a request live in this process's memory for the request only.
Not covered: what the operating system swaps out.
"""

import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ml import fewshot
from ml.errors import ImageTooLarge, MlError, UnreadableImage
from ml.reporting.packing import pack
from pool.errors import InvalidInput
from pool.settings import Settings
from pool.storage.store import ObjectStore

MAX_PACKED_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a few-shot request gets."""

    class_names: tuple[str, ...]
    probabilities: list[list[float]]
    """One row per query, one column per class name."""
    decode_ms: float
    predict_ms: float


class Inference:
    """Loads meta-learners when first asked for, adapts them per request, keeps no image."""

    def __init__(self, settings: Settings, store: ObjectStore) -> None:
        self._store = store
        self._max_pixels = settings.max_image_pixels
        self._capacity = settings.meta_learners_in_memory
        self._loaded: OrderedDict[str, fewshot.Delivered] = OrderedDict()
        self._lock = threading.Lock()
        self._turn = threading.BoundedSemaphore(settings.concurrent_predictions)
        torch.set_num_threads(settings.threads)

    def predict(
        self,
        object_key: str,
        *,
        support: Sequence[bytes],
        labels: Sequence[str],
        query: Sequence[bytes],
        teachers: int | None = None,
    ) -> Answer:
        """Adapt the meta-learner to encoded support images and label the encoded queries.

        Args:
            object_key: of the meta-learner.
            support: image files.
            labels: one per support image.
            query: image files.
            teachers: of an ensemble, how many members answer; None leaves it to the ensemble.

        Raises:
            InvalidInput: an image cannot be decoded; the part is named, nothing is quoted. Or
                `teachers` is given and the meta-learner is no ensemble.
            StorageUnavailable, ObjectMissing: the meta-learner cannot be fetched.
        """
        learner = self._load(object_key)
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
            support_images = self._decode(learner, support, part="support")
            query_images = self._decode(learner, query, part="query")
            decoded = time.perf_counter()
            try:
                rows = fewshot.predict(
                    learner,
                    support_images,
                    torch.tensor([index[label] for label in labels]),
                    query_images,
                    n_way=len(class_names),
                    teachers_asked=teachers,
                )
            except MlError as error:
                raise InvalidInput(str(error), part="support") from error
            done = time.perf_counter()
        return Answer(
            class_names=class_names,
            probabilities=rows.tolist(),
            decode_ms=(decoded - started) * 1000,
            predict_ms=(done - decoded) * 1000,
        )

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

    def _decode(
        self, learner: fewshot.Delivered, images: Sequence[bytes], *, part: str
    ) -> torch.Tensor:
        side, channels = fewshot.decoding_side(learner), learner.channels
        return torch.stack(self._decode_all(images, part, side=side, channels=channels))

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

    def _load(self, object_key: str) -> fewshot.Delivered:
        with self._lock:
            if object_key in self._loaded:
                self._loaded.move_to_end(object_key)
                return self._loaded[object_key]
        with tempfile.TemporaryDirectory(prefix="modelpool-") as directory:
            path = Path(directory) / "meta-learner.safetensors"
            self._store.fetch(object_key, path)
            learner = fewshot.load_delivered(path)
        with self._lock:
            self._loaded[object_key] = learner
            while len(self._loaded) > self._capacity:
                self._loaded.popitem(last=False)
        return learner
