"""Local copies of the models that are served, so that a server can start without the registry."""

from __future__ import annotations

import json
import os
import shutil
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from .. import machine
from ..errors import PracticeError
from ..model import code
from ..tracking import store
from ..tracking.session import Session
from . import loading, model_files
from .signing import SigningError
from .versions import Version

SERVED = "last.json"  # the names of the copies served last, newest first
MODEL = "model"  # in a copy, the model's folder
RECORD = "served.json"  # in a copy: its version, and the digest of its files
APPROVED = "code_approved"  # in the record
LOADING_SECONDS = 600  # after `download`, in which a process may load the copy


class LocalModelError(PracticeError):
    """A local copy of a model is missing or damaged."""


def download(session: Session, version: Version, folder: Path) -> Path:
    """Return the files of a version, downloaded into ``folder`` unless they are there.

    Raises:
        ModelFilesError: they cannot be read, or are not the files that were promoted.
    """
    place = folder / _name(version)
    with suppress(OSError):  # it is missing, or belongs to somebody else
        os.utime(place)
    try:
        files = _read_copy(place)[1]
    except LocalModelError:
        _download(session, version, place)
        files = _read_copy(place)[1]
    _record_approval(session, version, place)
    return files


def code_is_approved(files: Path) -> bool:
    """Return whether the code in a copy was approved when the registry last answered."""
    record = json.loads((files.parent / RECORD).read_text(encoding="utf-8"))
    return bool(record.get(APPROVED))


def mark_served(version: Version, folder: Path) -> None:
    """Record that a version is served now; of old copies only the one before it is kept.

    Every worker records it. What was just downloaded stays, since another one may be loading it.
    """
    kept = list(dict.fromkeys([_name(version), *_served_names(folder)]))[:2]
    _write(folder / SERVED, json.dumps(kept))
    for copy in folder.iterdir():
        if copy.name.startswith(".") or copy.name in kept or not copy.is_dir():
            continue
        with suppress(OSError):  # another worker deleted it
            if time.time() - copy.stat().st_mtime > LOADING_SECONDS:
                shutil.rmtree(copy)


def last_served(folder: Path) -> tuple[Version, Path]:
    """Return the version that was served last and its files."""
    names = _served_names(folder)
    if not names:
        raise LocalModelError(f"{folder}: holds no copy of a model that was served")
    return _read_copy(folder / names[0])


def _download(session: Session, version: Version, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=place.parent, prefix=".download-") as temporary:
        copy = Path(temporary, "copy")
        files = model_files.download(version, str(copy / MODEL))
        digest = model_files.require_promoted(
            session.client, version, files, or_never_promoted=True
        )
        record = {**asdict(version), "digest": digest}
        (copy / RECORD).write_text(json.dumps(record), encoding="utf-8")
        if place.exists():  # a damaged one
            shutil.move(place, Path(temporary, "damaged"))
        with suppress(OSError):  # another process was faster
            copy.rename(place)


def _served_names(folder: Path) -> list[str]:
    try:
        found: list[str] = json.loads((folder / SERVED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return found


def _read_copy(place: Path) -> tuple[Version, Path]:
    try:
        record = json.loads((place / RECORD).read_text(encoding="utf-8"))
        digest = record.pop("digest")
        record.pop(APPROVED, None)
        version = Version(**record)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LocalModelError(f"{place}: no readable {RECORD} ({type(error).__name__})") from None
    if model_files.digest(place / MODEL) != digest:
        raise LocalModelError(f"{place}: the copy is damaged")
    return version, place / MODEL


def _record_approval(session: Session, version: Version, place: Path) -> None:
    """Record whether a copy's code is approved, for starts without the registry."""
    if not (place / MODEL / code.FOLDER).is_dir():
        return
    record = json.loads((place / RECORD).read_text(encoding="utf-8"))
    try:
        approved = loading.is_approved(session, version, record["digest"])
    except (*store.STORE_ERRORS, OSError, SigningError):
        return  # the earlier answer still holds
    if record.get(APPROVED) != approved:
        _write(place / RECORD, json.dumps({**record, APPROVED: approved}))


def _write(path: Path, text: str) -> None:
    with machine.replacing(path) as temporary:  # other processes read it
        temporary.write_text(text, encoding="utf-8")


def _name(version: Version) -> str:
    return f"{version.name}-{version.number}-{version.model_id}"
