"""Data: read, checked, cleaned, split, hashed and kept as versions."""

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import PracticeError


class DataError(PracticeError):
    """Data cannot be used as it is; the message names the place and the remedy."""


@contextmanager
def located(place: object) -> Iterator[None]:
    """Put ``place`` before the message of a `DataError` that the body raises."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{place}: {error}") from None
