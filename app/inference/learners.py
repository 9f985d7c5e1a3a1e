"""Meta-learners in this process's memory: loaded when first asked for, the latest used kept."""

import tempfile
import threading
from collections import OrderedDict
from pathlib import Path

from ml import fewshot
from pool.storage.store import ObjectStore


class Learners:
    """A small cache of what builds delivered."""

    def __init__(self, store: ObjectStore, *, most: int) -> None:
        self._store, self._capacity = store, most
        self._loaded: OrderedDict[str, fewshot.Delivered] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, object_key: str) -> fewshot.Delivered:
        """The meta-learner under a key of the store.

        Raises:
            StorageUnavailable, ObjectMissing: it cannot be fetched.
        """
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
