"""Signatures under approvals: Ed25519 (RFC 8032), the approvers' public keys in configs/.

A signature shows that a listed key was used on exactly this record. Who can change the list on the
main branch decides who may approve, so a change of it needs a review.
"""

from __future__ import annotations

import base64
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from ..errors import PracticeError
from ..tracking.identity import Identity

KEY, PASSPHRASE = "APPROVAL_KEY", "APPROVAL_KEY_PASSPHRASE"


class SigningError(PracticeError):
    """A key, the list of approvers or a signature is not valid; the message says what to do."""


def private_key_path(project: str) -> Path:
    """Return where this person's private key is: ``APPROVAL_KEY``, else below ~/.config."""
    named = os.environ.get(KEY) or f"~/.config/{project}/approval_key.pem"
    return Path(named).expanduser()


def keygen(path: Path) -> str:
    """Write a new private key that only its owner may read; return its public key in base64.

    It is encrypted where the variable ``APPROVAL_KEY_PASSPHRASE`` is set.
    """
    if any((folder / ".git").exists() for folder in path.resolve().parents):
        raise SigningError(f"{path}: lies in a git work tree; name a place outside with {KEY}")
    phrase = _passphrase()
    key = Ed25519PrivateKey.generate()
    content = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(phrase) if phrase else serialization.NoEncryption(),
    )
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
    except OSError as error:
        reason = f"{error.filename}: cannot be written: {error.strerror}"
        raise SigningError(f"{reason}; name another place with {KEY}") from None
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def load_approvers(path: Path) -> dict[str, Ed25519PublicKey]:
    """Return the public key of each approver; none if there is no such file, or nothing in it."""
    try:
        # The plain texts: YAML would make a number of the account 007, and keep one of two equals.
        listed = yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader)
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SigningError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
    if listed is None:
        return {}
    if not isinstance(listed, yaml.MappingNode):
        raise SigningError(f"{path}: must be lines of `account or e-mail: public key`")
    approvers: dict[str, Ed25519PublicKey] = {}
    for name, key in listed.value:
        who, place = str(name.value), f"{path}: line {name.start_mark.line + 1}: {name.value}"
        try:
            public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key.value, validate=True))
        except (TypeError, ValueError) as error:
            raise SigningError(
                f"{place}: no public key ({error}); copy the line that `approval keygen` printed"
            ) from None
        if who in approvers or public in approvers.values():
            raise SigningError(
                f"{place}: listed twice, the name or the key; list one key for each person"
            )
        approvers[who] = public
    return approvers


def canonical(record: Mapping[str, Any]) -> bytes:
    """Return the bytes that are signed: JSON in UTF-8, keys sorted, no spaces, finite numbers."""
    try:
        return json.dumps(
            record, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        ).encode()
    except (TypeError, ValueError) as error:
        reason = error.reason if isinstance(error, UnicodeEncodeError) else error
        raise SigningError(f"the record cannot be signed: {reason}") from None


def sign(record: Mapping[str, Any], path: Path) -> str:
    """Return the signature of the private key at ``path`` under a record, in base64."""
    return base64.b64encode(_load_private_key(path).sign(canonical(record))).decode()


def verify(
    record: Mapping[str, Any], signature: str, approvers: Mapping[str, Ed25519PublicKey]
) -> str:
    """Return the approver whose key signed the record."""
    content = canonical(record)
    signer = next(
        (name for name, key in approvers.items() if _signed(key, signature, content)), None
    )
    if signer is None:
        raise SigningError(
            "no key of configs/approvers.yaml made the signature of this record; it was changed, "
            "or the approver is not listed"
        )
    who = Identity.from_dict(record.get("who") or {})
    if signer not in (who.account, who.name) and signer.casefold() != (who.email or "").casefold():
        raise SigningError(
            f"the record names {who}, but the key of {signer} signed it; configs/approvers.yaml "
            "must list a key under its owner's account or e-mail address of git"
        )
    return signer


def _load_private_key(path: Path) -> Ed25519PrivateKey:
    try:
        with path.open("rb") as file:
            mode, content = os.fstat(file.fileno()).st_mode, file.read()
    except FileNotFoundError:
        raise SigningError(
            f"{path}: no private key; make one with `approval keygen`, or name yours with {KEY}"
        ) from None
    except OSError as error:
        raise SigningError(f"{path}: cannot be read: {error.strerror}") from None
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        raise SigningError(f"{path}: others may read this private key; run `chmod 600 {path}`")
    try:
        key = serialization.load_pem_private_key(content, _passphrase())
    except TypeError:
        raise SigningError(
            f"{path}: set {PASSPHRASE} if the key is encrypted, and only then"
        ) from None
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SigningError(
            f"{path}: {PASSPHRASE} does not open it, or it is no private key in PEM "
            f"({type(error).__name__})"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningError(f"{path}: not an Ed25519 key; make one with `approval keygen`")
    return key


def _passphrase() -> bytes | None:
    return os.environ.get(PASSPHRASE, "").encode() or None


def _signed(key: Ed25519PublicKey, signature: str, content: bytes) -> bool:
    try:
        key.verify(base64.b64decode(signature, validate=True), content)
    except (InvalidSignature, ValueError):
        return False
    return True
