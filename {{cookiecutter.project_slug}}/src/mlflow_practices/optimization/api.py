"""What stages and loaders call."""

from __future__ import annotations

import pandas as pd

from ..registry.versions import Version
from ..serving.settings import ServingSettings
from ..tracking import recording
from ..tracking.session import Session
from .optimization import add_optimized_copy
from .optimized_model import load

__all__ = ["load", "optimize_model_for_serving"]


def optimize_model_for_serving(session: Session, version: Version, X: pd.DataFrame) -> None:
    """Add a faster copy to a version's files where ``serving.optimize`` is on.

    See `add_optimized_copy`. The run's tag ``serving`` says what answers requests, and why.
    """
    if session.settings.section(ServingSettings).optimize:
        recording.set_tags({"serving": add_optimized_copy(session, version, X).reason})
