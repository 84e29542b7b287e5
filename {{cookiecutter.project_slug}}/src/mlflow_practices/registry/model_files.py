"""The files of a version's model: download them, and check that they are those promoted."""

from __future__ import annotations

import hashlib
from pathlib import Path

import mlflow
from mlflow import MlflowClient, MlflowException

from ..data.hashing import file_hash
from ..errors import PracticeError
from . import versions
from .versions import Version

MODEL_DIGEST = "model_digest"  # a tag of a version in production
WRITTEN_BY_MLFLOW = "registered_model_meta"  # beside a model's files, when MLflow loads them


class ModelFilesError(PracticeError):
    """A model's files cannot be read, or are not those that were promoted."""


def download(version: Version, folder: str) -> Path:
    """Download a model's files into ``folder`` and return where they are.

    Raises:
        ModelFilesError: they are not in the artifact store, or it does not answer.
    """
    try:
        uri = f"models:/{version.model_id}"
        return Path(mlflow.artifacts.download_artifacts(uri, dst_path=folder))
    except (MlflowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise ModelFilesError(f"{version}: its files cannot be read: {reason}") from None


def digest(files: Path) -> str:
    """Return the SHA-256 over the names and bytes of all files in a folder."""
    total = hashlib.sha256()
    for path in sorted(files.rglob("*")):
        name = path.relative_to(files).as_posix()
        if path.is_file() and name != WRITTEN_BY_MLFLOW:
            total.update(f"{len(name.encode())} {name} {file_hash(path)}\n".encode())
    return total.hexdigest()


def require_promoted(
    client: MlflowClient, version: Version, files: Path, *, or_never_promoted: bool = False
) -> str:
    """Return the digest of a version's files, which must be the one that its promotion recorded.

    With ``or_never_promoted`` a version without a recorded digest passes, too.

    Raises:
        ModelFilesError: they are others.
    """
    found = digest(files)
    promoted = versions.get_tags(client, version).get(MODEL_DIGEST)
    if promoted == found or (promoted is None and or_never_promoted):
        return found
    raise ModelFilesError(f"{version}: its files are not those that were promoted")
