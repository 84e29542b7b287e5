"""Signatures under approvals, with real keys: what they let through, and what they do not."""

import base64
import json
import os
import subprocess
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PublicKey,
)
from mlflow_practices.registry import signing
from my_ml_project.project import PROJECT

RECORD: dict[str, Any] = {
    "who": {"email": "ann@example.com", "user": "ann"},
    "decision": "approved",
    "model": "example version 3",
    "when": "2026-01-02T03:04:05Z",
    "why": "größer, \u65e5\u672c, \U0001f600 \u2028",
    "evidence": {"digest": "0f" * 32, "accuracy": 0.1 + 0.2},
    "expires": None,
}
posix = pytest.mark.skipif("os.name != 'posix'", reason="Windows has no such modes")


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(signing.KEY, raising=False)
    monkeypatch.delenv(signing.PASSPHRASE, raising=False)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """Return where Ann's private key is."""
    path = tmp_path / "ann.pem"
    write_approvers(tmp_path, f"ann@example.com: {signing.keygen(path)}")
    return path


def write_approvers(folder: Path, *lines: str) -> Path:
    path = folder / "approvers.yaml"
    path.write_text("\n".join(["# who may approve", *lines]))
    return path


def approvers(folder: Path) -> dict[str, Ed25519PublicKey]:
    return signing.load_approvers(folder / "approvers.yaml")


def test_a_signature_holds_after_the_record_was_stored(key: Path, tmp_path: Path) -> None:
    signature = signing.sign(RECORD, key)
    stored = json.loads(json.dumps(RECORD, indent=2, ensure_ascii=True))
    turned = dict(reversed(stored.items()))
    assert signing.verify(turned, signature, approvers(tmp_path)) == "ann@example.com"


def test_every_changed_byte_breaks_it(key: Path, tmp_path: Path) -> None:
    signature, content = signing.sign(RECORD, key), signing.canonical(RECORD)
    listed = approvers(tmp_path)
    for place in range(len(content)):
        for bit in (1, 32):  # the second turns a letter from small to large
            changed = bytearray(content)
            changed[place] ^= bit
            try:
                record = json.loads(changed)
            except ValueError:
                continue
            if record == RECORD:  # the last digit of a number may make no difference
                continue
            with pytest.raises(signing.SigningError):
                signing.verify(record, signature, listed)


def test_every_changed_byte_of_the_signature_breaks_it(key: Path, tmp_path: Path) -> None:
    signature, listed = base64.b64decode(signing.sign(RECORD, key)), approvers(tmp_path)
    wrong = [bytes(b ^ (n == place) for n, b in enumerate(signature)) for place in range(64)]
    texts = [base64.b64encode(each).decode() for each in (*wrong, signature[:-1], signature * 2)]
    for text in (*texts, "", "none", "größer"):
        with pytest.raises(signing.SigningError, match="made the signature"):
            signing.verify(RECORD, text, listed)


def test_swapped_signatures_are_found_out(key: Path, tmp_path: Path) -> None:
    other = {**RECORD, "model": "example version 4"}
    for record, signed in ((RECORD, other), (other, RECORD)):
        with pytest.raises(signing.SigningError, match="was changed"):
            signing.verify(record, signing.sign(signed, key), approvers(tmp_path))


def test_a_key_that_is_not_listed(key: Path, tmp_path: Path) -> None:
    signing.keygen(tmp_path / "eve.pem")
    signature = signing.sign(RECORD, tmp_path / "eve.pem")
    with pytest.raises(signing.SigningError, match="is not listed"):
        signing.verify(RECORD, signature, approvers(tmp_path))
    with pytest.raises(signing.SigningError, match="is not listed"):
        signing.verify(RECORD, signature, {})


@pytest.mark.parametrize("who", [{"email": "ben@example.com"}, {"user": "ann"}, {}, None])
def test_the_right_key_under_another_persons_name(
    key: Path, tmp_path: Path, who: dict[str, str] | None
) -> None:
    record = {**RECORD, "who": who}
    with pytest.raises(signing.SigningError, match=r"the key of ann@example\.com signed it"):
        signing.verify(record, signing.sign(record, key), approvers(tmp_path))


@pytest.mark.parametrize(
    ("name", "who"),
    [
        ("ann", {"account": "ann", "email": "other@example.com"}),
        ("Ann@Example.com", {"account": "ann", "email": "ann@example.com"}),
        ("007", {"account": "007"}),
        ("true", {"account": "true"}),
        ("ann", {"user": "ann"}),
    ],
)
def test_a_name_is_an_account_or_an_address(tmp_path: Path, name: str, who: dict[str, str]) -> None:
    write_approvers(tmp_path, f"{name}: {signing.keygen(tmp_path / 'key.pem')}")
    record = {**RECORD, "who": who}
    signature = signing.sign(record, tmp_path / "key.pem")
    assert signing.verify(record, signature, approvers(tmp_path)) == name


def test_canonical_bytes_are_the_same_whatever_the_order() -> None:
    content = signing.canonical(RECORD)
    assert signing.canonical(dict(sorted(RECORD.items()))) == content
    assert signing.canonical(json.loads(content)) == content
    assert signing.canonical({"ä": [1, {"b": None, "a": True}]}) == (
        '{"ä":[1,{"a":true,"b":null}]}'.encode()
    )
    # Two ways to write one letter are two records: what was signed is what was seen.
    assert signing.canonical({"a": unicodedata.normalize("NFD", "ä")}) != (
        signing.canonical({"a": "ä"})
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, "\udcff"])
def test_what_json_cannot_say_is_not_signed(key: Path, value: object) -> None:
    with pytest.raises(signing.SigningError, match="the record cannot be signed"):
        signing.sign({"why": value}, key)


def test_nobody_is_listed(tmp_path: Path) -> None:
    assert approvers(tmp_path) == {}
    write_approvers(tmp_path)
    assert approvers(tmp_path) == {}


PUBLIC = base64.b64encode(bytes(range(32))).decode()
OTHER = base64.b64encode(bytes(range(1, 33))).decode()


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (["ann: [", "ben"], "cannot be read"),
        (["- ann"], "must be lines of"),
        (["ann"], "must be lines of"),
        (["ann:"], "line 2: ann: no public key"),
        (["ann: c2hvcnQ="], "line 2: ann: no public key"),
        ([f"ann: {PUBLIC}", "ben: not base64"], "line 3: ben: no public key"),
        (["ann: {key: " + PUBLIC + "}"], "line 2: ann: no public key"),
        ([f"ann: {PUBLIC}", f"ben: {PUBLIC}"], "line 3: ben: listed twice"),
        ([f"ann: {PUBLIC}", f"ann: {OTHER}"], "line 3: ann: listed twice"),
    ],
)
def test_a_wrong_list_names_the_file_and_the_entry(
    tmp_path: Path, lines: list[str], complaint: str
) -> None:
    path = write_approvers(tmp_path, *lines)
    with pytest.raises(signing.SigningError) as caught:
        approvers(tmp_path)
    assert str(caught.value).startswith(f"{path}: ")
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_list_that_ships_names_nobody() -> None:
    shipped = PROJECT.root / "configs/approvers.yaml"
    assert "approval keygen" in shipped.read_text()
    signing.load_approvers(shipped)  # and after the first approver, it can still be read


def test_where_the_key_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    default = Path("~/.config/example/approval_key.pem").expanduser()
    assert signing.private_key_path("example") == default
    monkeypatch.setenv(signing.KEY, str(tmp_path / "mine.pem"))
    assert signing.private_key_path("example") == tmp_path / "mine.pem"


@posix
def test_a_new_key_is_its_owners_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        signing.keygen(tmp_path / "new/folder/key.pem")
    finally:
        os.umask(old)
    assert (tmp_path / "new/folder/key.pem").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "new/folder").stat().st_mode & 0o777 == 0o700


def test_keygen_overwrites_nothing(key: Path) -> None:
    before = key.read_bytes()
    with pytest.raises(signing.SigningError, match=r"ann\.pem: cannot be written: File exists"):
        signing.keygen(key)
    assert key.read_bytes() == before


def test_keygen_writes_nothing_where_git_could_commit_it(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    for place in ("key.pem", "a/b/key.pem", "link/key.pem"):
        with pytest.raises(signing.SigningError, match="git work tree; name a place outside"):
            signing.keygen(tmp_path / place)
        assert not (tmp_path / place).exists()


def test_keygen_into_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(signing.SigningError, match=r"name another place with APPROVAL_KEY$"):
        signing.keygen(tmp_path / "file/key.pem")


def test_a_passphrase_encrypts_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key.pem"
    monkeypatch.setenv(signing.PASSPHRASE, "correct horse")
    write_approvers(tmp_path, f"ann@example.com: {signing.keygen(path)}")
    assert "ENCRYPTED" in path.read_text()
    assert signing.verify(RECORD, signing.sign(RECORD, path), approvers(tmp_path))
    monkeypatch.setenv(signing.PASSPHRASE, "battery staple")
    with pytest.raises(signing.SigningError, match="PASSPHRASE does not open it") as caught:
        signing.sign(RECORD, path)
    assert "battery" not in str(caught.value)
    monkeypatch.delenv(signing.PASSPHRASE)
    with pytest.raises(signing.SigningError, match="set APPROVAL_KEY_PASSPHRASE"):
        signing.sign(RECORD, path)


def test_a_missing_key_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(signing.SigningError, match="make one with `approval keygen`"):
        signing.sign(RECORD, tmp_path / "none.pem")


@posix
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_that_others_may_read_is_refused(key: Path, mode: int) -> None:
    key.chmod(mode)
    with pytest.raises(signing.SigningError, match=f"run `chmod 600 {key}`"):
        signing.sign(RECORD, key)
    key.chmod(0o600)
    assert signing.sign(RECORD, key)


@pytest.mark.parametrize("damage", ["", "text", "half"])
def test_a_file_that_is_no_key_is_refused_without_showing_it(key: Path, damage: str) -> None:
    content = key.read_text()
    key.write_text(content[: len(content) // 2] if damage == "half" else damage)
    with pytest.raises(signing.SigningError, match="no private key in PEM") as caught:
        signing.sign(RECORD, key)
    assert content.splitlines()[1][:20] not in str(caught.value)
    assert caught.value.__suppress_context__


def test_another_kind_of_key_is_refused(key: Path) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    key.write_bytes(
        other.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    with pytest.raises(signing.SigningError, match="not an Ed25519 key"):
        signing.sign(RECORD, key)
