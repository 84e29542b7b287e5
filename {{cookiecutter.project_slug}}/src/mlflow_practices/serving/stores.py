"""Where predictions are kept: in this process, or for all workers in Redis (`redis_store`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence

from cachetools import TTLCache

from .settings import Cache

Prediction = str | int | float | bool


class Store(ABC):
    """Predictions by the keys of their rows. It belongs to one event loop."""

    def __init__(self, settings: Cache) -> None:
        """Make an empty one; with the mode ``auto`` it is off until its benefit was measured."""
        self.settings = settings
        self.hits = self.misses = 0  # rows
        self.errors = 0  # failed calls of Redis
        self.dropped = 0  # rows that were never written
        self.circuit_open = False  # after failures: Redis is not asked
        self.on_recovery: Callable[[], Awaitable[None]] | None = None
        self.largest_batch = 0  # rows; larger batches are not looked up
        self.status = "off: not measured yet"
        if settings.mode == "always":
            self.largest_batch = settings.max_rows
            self.status = "on: serving.cache.mode is always"

    @abstractmethod
    async def get(self, keys: Sequence[bytes]) -> list[Prediction | None]:
        """Return the prediction of each key, or None; never raises."""

    @abstractmethod
    def put(self, predictions: Mapping[bytes, Prediction]) -> None:
        """Keep predictions, now or in the background; never raises."""

    async def is_ready(self) -> bool:
        """Return whether the store answers."""
        return True

    async def close(self) -> None:  # noqa: B027  a store may have nothing to end
        """End what runs in the background; no request may be under way."""


class LocalStore(Store):
    """Keeps the most recently used predictions in this process."""

    def __init__(self, settings: Cache) -> None:
        """Make one of at most ``max_entries`` rows, each kept for ``ttl_seconds``."""
        super().__init__(settings)
        self._entries = TTLCache[bytes, Prediction](settings.max_entries, settings.ttl_seconds)

    async def get(self, keys: Sequence[bytes]) -> list[Prediction | None]:
        """Return the prediction of each key, or None."""
        found: list[Prediction | None] = []
        for key in keys:
            try:
                found.append(self._entries[key])
            except KeyError:  # a third of the time that `get` takes
                found.append(None)
        return found

    def put(self, predictions: Mapping[bytes, Prediction]) -> None:
        """Keep predictions; the least recently used make room."""
        self._entries.update(predictions)
