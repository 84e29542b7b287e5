"""The files of a version's model: download, digest, size."""

import hashlib
from pathlib import Path

import mlflow
from mlflow import MlflowException

from ..data.hashing import file_hash
from ..errors import PracticeError
from .versions import Version

WRITTEN_BY_MLFLOW = "registered_model_meta"  # beside a model's files, when it loads them


class ModelFilesError(PracticeError):
    """A model's files cannot be had."""


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


def size(files: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in files.rglob("*") if path.is_file())
