"""Data: read, checked, cleaned, split, hashed and kept as versions."""

from ..errors import PracticeError


class DataError(PracticeError):
    """Data cannot be used as it is; the message names the place and the remedy."""
