"""Local copies of the models that are served, so that a start does not need the registry."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from ..errors import PracticeError
from ..model import code
from ..tracking import store
from ..tracking.session import Session
from . import loading, model_files, promotion, versions
from .signing import SigningError
from .versions import Version

LAST_SERVED = "last.json"  # which copy was served last, by its name
MODEL = "model"  # in a copy, the model's folder
RECORD = "served.json"  # beside a copy's files: what it is a copy of, and their digest
APPROVED = "code_approved"  # in the record


class LocalModelError(PracticeError):
    """A model's files are not those that were promoted, or not whole."""


def download(session: Session, version: Version, folder: Path) -> Path:
    """Return the files of a version, downloaded into ``folder`` unless they are there.

    Raises:
        LocalModelError: they are not the files that were promoted.
        ModelFilesError: they cannot be had.
    """
    place = folder / _name(version)
    with suppress(LocalModelError):
        files = _checked(place)[1]
        _note_approval(session, version, place)
        return files
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=".download-") as temporary:
        made = Path(temporary, "copy")
        files = model_files.download(version, str(made / MODEL))
        registered = session.client.get_model_version(version.name, str(version.number))
        tags, digest = registered.tags, model_files.digest(files)
        if tags.get(promotion.MODEL_DIGEST, digest) != digest:
            raise LocalModelError(f"{version}: its files are not those that were promoted")
        record = {**asdict(version), "digest": digest}
        (made / RECORD).write_text(json.dumps(record), encoding="utf-8")
        if place.exists():  # one that is not whole
            shutil.move(place, Path(temporary, "broken"))
        with suppress(OSError):  # another process was first
            made.rename(place)
    files = _checked(place)[1]
    _note_approval(session, version, place)
    return files


def code_is_approved(files: Path) -> bool:
    """Return whether the code in a copy that `download` or `last_served` returned was approved then."""
    record = json.loads((files.parent / RECORD).read_text(encoding="utf-8"))
    return bool(record.get(APPROVED))


def mark_served(version: Version, folder: Path) -> None:
    """Note that a version is served now; of older copies only the one before it stays."""
    before = _served_names(folder)
    _replace(folder / LAST_SERVED, json.dumps([_name(version), *before[:1]]))
    keep = {_name(version), *before[:1]}
    for copy in folder.iterdir():
        if copy.is_dir() and not copy.name.startswith(".") and copy.name not in keep:
            shutil.rmtree(copy, ignore_errors=True)


def last_served(folder: Path) -> tuple[Version, Path]:
    """Return the version that was served last and its files.

    Raises:
        LocalModelError: there is none, or it is not whole.
    """
    names = _served_names(folder)
    if not names:
        raise LocalModelError(f"{folder}: holds no copy of a model that was served")
    return _checked(folder / names[0])


def _served_names(folder: Path) -> list[str]:
    try:
        found: list[str] = json.loads((folder / LAST_SERVED).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        del error
        return []
    return found


def _checked(place: Path) -> tuple[Version, Path]:
    try:
        record = json.loads((place / RECORD).read_text(encoding="utf-8"))
        digest = record.pop("digest")
        record.pop(APPROVED, None)
        version = versions.Version(**record)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LocalModelError(f"{place}: no readable {RECORD} ({type(error).__name__})") from None
    if model_files.digest(place / MODEL) != digest:
        raise LocalModelError(f"{place}: the copy is damaged")
    return version, place / MODEL


def _note_approval(session: Session, version: Version, place: Path) -> None:
    """Keep in a copy's record whether its code is approved, for starts without the registry."""
    if not (place / MODEL / code.FOLDER).is_dir():
        return
    record = json.loads((place / RECORD).read_text(encoding="utf-8"))
    try:
        approved = loading.is_approved(session, version, record["digest"])
    except (*store.STORE_ERRORS, OSError, SigningError):
        return  # what was found before still holds
    if record.get(APPROVED) != approved:
        _replace(place / RECORD, json.dumps({**record, APPROVED: approved}))


def _replace(path: Path, text: str) -> None:
    """Write a file in one step: other processes read it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _name(version: Version) -> str:
    return f"{version.name}-{version.number}-{version.model_id}"
