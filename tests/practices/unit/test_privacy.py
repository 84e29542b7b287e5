"""Secrets and personal data do not pass, by name or by form; ordinary names and values do."""

import random
import time
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow_practices import privacy
from mlflow_practices.privacy import REDACTED

KEY = "PSEUDONYM_KEY"

SENSITIVE = """
password DB_PASSWORD passwords passwd pwd userPwd passphrase secret client_secret token auth-token
accessToken access_tokens token_2 api_key apiKey APIKey X-API-Key apikey private_key signing-key
credentials Authorization session_cookie ssn SSN social_security_number tax_id passport
driver's_licence driving_license credit_card creditCardNumber card-number cvv cvv2 iban bank_account
accountNumber email e-mail eMail E_MAIL user.email emails contactEmail email_1 phone phones
phone_number homePhone mobile_number telephone fax_number first_name LastName middle.name given_name
family_name fullName maiden_name surname username user_name login birth_date birthDate date_of_birth
dob birthday street_address homeAddress ip_address clientIp ip IPv4 address addresses addressLine2
customer_name MLFLOW_TRACKING_PASSWORD PSEUDONYM_KEY
"""
ORDINARY = """
max_tokens n_tokens tokenizer token_count tokens pad_token eos_token emailed_rows keyboard seed name
project.name model_name file_name feature_name class_name key data.key primary_key sort_key
tracking.uri importance card_type zip ship_date recipe description trip keys monkey secretary
addressed phonetic headphones ipython script multiplier n_emails has_phone email_count
password_length passes pass_rate compass accuracy account_age bank birthplace_rank author cookies
species island bill_length_mm sex year n_estimators max_depth mailing_list_size hotel model.tel_aviv
"""


@pytest.fixture(autouse=True)
def _built_in_names() -> Iterator[None]:
    privacy.configure()
    yield
    privacy.configure()


@pytest.mark.parametrize("name", SENSITIVE.split())
def test_sensitive_names(name: str) -> None:
    assert privacy.is_sensitive(name)


@pytest.mark.parametrize("name", ORDINARY.split())
def test_ordinary_names(name: str) -> None:
    assert not privacy.is_sensitive(name)


def test_the_configuration_adds_names_and_keeps_others() -> None:
    privacy.configure(fields=["customer ref"], keep=["ip"])
    assert [privacy.is_sensitive(name) for name in ("customerRef", "old.CUSTOMER-REF_2")] == [
        True
    ] * 2
    assert [privacy.is_sensitive(name) for name in ("customer", "ip", "data.ip")] == [False] * 3
    assert privacy.is_sensitive("client_ip")
    privacy.configure()
    assert privacy.is_sensitive("ip")
    assert not privacy.is_sensitive("customerRef")


TOKENS = [
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_" + "a1B2" * 9,
    "github_pat_" + "a1B2" * 9,
    "glpat-" + "a1B2c" * 4,
    "xoxb-1234567890-abcdef",
    "sk-proj-" + "a1B2" * 9,
    "sk-ant-api03-" + "a1B2" * 9,
    "sk_live_" + "a1B2" * 6,
    "AIza" + "SyA1b" * 7,
    "hf_" + "aB1c" * 9,
    "npm_" + "aB1c" * 9,
    "pypi-AgEIcHlwaS5vcmc" + "aB1c" * 9,
    "dapi" + "0123456789abcdef" * 2,
    "SG." + "aB1c" * 5 + "." + "aB1c" * 10,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.SflKxwRJSMeKKF2QT4",
]
PERSONAL = """\
ann@example.org
ann.o'brien+x@mail.example.co.uk
ann%40example.org
Jürgen@exämple.de
+14155552671
+1 (415) 555-2671
+44 20 7946 0958
+49 (0)30 901820
+33 6 12 34 56 78
+1.415.555.2671
(415) 555-2671
415-555-2671
415.555.2671
415 555 2671
1-800-555-0199
001-581-896-0013x3890
020 7946 0958
(020) 7946 0958
07911 123456
030/901820
06 12 34 56 78
01.23.45.67.89
4111111111111111
4111 1111 1111 1111
5500-0000-0000-0004
2223003122003222
378282246310005
3782 822463 10005
6011111111111117
4222222222222
30569309025904
3530111333300000
123-45-6789
GB29 NWBK 6016 1331 9268 19
DE89370400440532013000
MT84MALT011000012345MTLCAST001S
93.184.216.34
10.1.2.3
2001:db8::1
2001:0db8:85a3:0000:0000:8a2e:0370:7334
fe80::1""".splitlines()


@pytest.mark.parametrize("text", TOKENS + PERSONAL)
def test_what_has_a_form_of_its_own_is_masked(text: str) -> None:
    assert privacy.redact_text(text) == REDACTED
    for sentence in ("It is {}, said 3 people.", "x = '{}'", "({}): 1 row failed", "a;{}\nb"):
        assert privacy.redact_text(sentence.format(text)) == sentence.format(REDACTED)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("phone: 5551234", "phone: *"),
        ("call me at 4155552671 or not", "call me at * or not"),
        ("Mobile no. 07911123456", "Mobile no. *"),
        ("SSN 123456789", "SSN *"),
        ("iban DE89 3704 0044 0532 0130 00 AND MORE", "iban * AND MORE"),
        ("020 7946 0958 12 rows", "* 12 rows"),
        ("postgresql://me:p@ss/w0rd@host:5432/db", "postgresql://*@host:5432/db"),
        ("redis://:hunter2@h:6379", "redis://*@h:6379"),
        ("https://token@host/x", "https://*@host/x"),
        ("https://me:pw@10.0.0.1:5000/x", "https://*@10.0.0.1:5000/x"),
        ("GET /?password=hunter2&x=1", "GET /?password=*&x=1"),
        ("https://h/x?a=1&token=abc#f", "https://h/x?a=1&token=*"),
        ("https://b/x?sv=1&sig=a%3D&x=2", "https://b/x?sv=1&sig=*&x=2"),
        ("bad password=hunter2, x=1", "bad password=*, x=1"),
        ('{"api_key": "a \\" b", "n": 3}', '{"api_key": "*", "n": 3}'),
        ('{\\"password\\": \\"hunter2\\"}', '{\\"password\\": \\"*\\"}'),
        ('{"ssn": 123456789}', '{"ssn": *}'),
        ("token: abc", "token: *"),
        ("api key: abc", "api key: *"),
        ("x=password=has password: hunter2", "x=password=* password: *"),
        ("User(surname='Smith', age=3)", "User(surname='*', age=3)"),
        ("street address = '12 Main St'", "street address = '*'"),
        ("Authorization: Bearer abc.def1", "Authorization: *"),
        ("curl -H 'Basic QWxhZGRpbjpvcGVu=='", "curl -H 'Basic *'"),
        ("a\n-----BEGIN RSA PRIVATE KEY-----\nMII\nx\n-----END RSA PRIVATE KEY-----\nb", "a\n*\nb"),
        ("-----BEGIN PRIVATE KEY-----\nMII", "*"),
    ],
)
def test_the_rest_of_the_text_stays(text: str, masked: str) -> None:
    assert privacy.redact_text(text) == masked.replace("*", REDACTED)


@pytest.mark.parametrize(
    "text",
    [
        "column 'email' left out: its name says personal data (privacy.keep changes that)",
        "column 'phone': personal data masked in 12 rows; email: 3 rows failed",
        "max_tokens: 512, tokenizer=bert, pad_token='[PAD]', n_tokens=5, key: value",
        "http://127.0.0.1:5000/#/experiments/1/runs/0123456789abcdef0123456789abcdef",
        "the server http://10.1.2.3:5000 does not answer; 0.0.0.0:5000 and [::1]:80 neither",
        "sqlite:///a/b@c/mlflow.db and https://medium.com/@user/x and http://h:8000/@vite/client",
        "git@github.com:org/repo.git at actions/checkout@v4.2.1",
        "scikit-learn==1.9.1 pkg==1.2.3.4 v1.2.3.4 version 1.2.3.4 mlflow-3.17.2.1-py3.whl",
        "data/processed/2f0c9e/train.parquet host-3:4711 x[1::2] x[2000::3] 12:34:56 16:9",
        "00:1a:2b:3c:4d:5e ISBN 978-0-306-40615-7 and 0-306-40615-2, pages 10-20, 5120-5340",
        "2024-05-01 08:30:00,123 2024-05-01T08:30:00+05:30 01/05/2024 01.05.2024 05/01/24, 10 AM",
        "12,345,678.90 1 234 567 8.5e-10 -1.25e+100 +0.123456789 -273.15 1_000_000_000_000",
        "call 0.523 0.618, phone 0.25; tel aviv 2024; mobile 12%",
        "+48.8566 +2.3522; [3 1 4 1 5 9 2 6 5 3 5 8 9 7 9 3 2 3 8 4]; 01 02 03 04 05 06 07",
        "feature@2x, A @ B.T, it's a basic understanding of the bearer market",
        "secretary key: value passwordless compass=3 author: me",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert privacy.redact_text(text) == text


def _ordinary(draw: random.Random) -> Iterator[str]:
    """Yield one of each kind of value that logs are full of."""
    hexadecimal = f"{draw.getrandbits(256):064x}"
    moment = datetime(2000, 1, 1) + timedelta(seconds=draw.randrange(10**9))
    number = draw.uniform(-1, 1) * 10 ** draw.randrange(-8, 12)
    version = ".".join(str(draw.randrange(40)) for _ in range(3))
    yield from (hexadecimal[:length] for length in (7, 16, 32, 40, 64))
    yield from (hexadecimal.upper()[:32], str(uuid.UUID(hexadecimal[:32])))
    digits = str(draw.randrange(10**31, 10**32))
    yield "-".join([digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]])
    yield from (f"{number}", f"{number:+.6f}", f"{number:.4e}", f"{number:,.2f}")
    yield from (f"{draw.randrange(10**12):,}", f"{draw.randrange(-(10**8), 10**8):+d}")
    yield from (str(draw.randrange(10**n, 2 * 10**n)) for n in (3, 9, 12, 15, 18))
    yield from (moment.isoformat(), f"{moment:%d/%m/%Y %H:%M}-{moment:%d/%m/%Y}", f"{moment:%c}")
    yield from (f"{moment:%Y%m%d-%H%M%S}", f"{moment:%d-%m-%Y %H:%M:%S}", f"{moment:%d.%m.%y}")
    yield from (version, f"numpy=={version}", f"mlflow-{version}.tar.gz", f"host:{digits[:5]}")
    yield f"mlruns/{digits[:18]}/{hexadecimal[:32]}/artifacts/model.pkl"
    yield ", ".join(f"{name}={draw.random():.6f}" for name in ("loss", "f1", "auc"))
    yield " ".join(f"{draw.gauss(0, 100):.4f}" for _ in range(8))
    yield " ".join(str(draw.randrange(10)) for _ in range(30))
    yield f"({draw.uniform(-90, 90):.6f}, {draw.uniform(-180, 180):.6f})"
    yield f"978{digits[:10]} x[{digits[:4]}::{digits[5]}] {digits[:2]}-{digits[2:5]}"
    yield f"M {draw.uniform(0, 500):.6f} {draw.uniform(0, 500):.6f} L 7.2 {draw.random():.6f}"


def test_ten_thousand_ordinary_values_stay() -> None:
    draw = random.Random(0)
    values = [value for _ in range(300) for value in _ordinary(draw)]
    assert len(values) > 10_000
    assert [
        value for value in values if privacy.redact_text(f"got {value}.") != f"got {value}."
    ] == []


REPEATED = (
    r"a|1|1-|1 |+1 |01 |0123 |a@|a'|a.|://|://a:|a://b@|password=|password='|token: |\"|\\|eyJ-|"
    "sk-a1|SG.|Bearer a|phone:|phone 1|call me |ssn |(|1.1.|::|2001:|a=|4111 |GB12|a%40|"
    "-----BEGIN PRIVATE KEY-----"
)


def test_redacting_twice_changes_nothing_more() -> None:
    draw = random.Random(0)
    parts = [
        *TOKENS,
        *PERSONAL,
        "password=",
        'secret="',
        "token: ",
        "phone ",
        "://me:",
        "@",
        REDACTED,
    ]
    glue = ["", " ", ",", ":", "=", "-", "/", '"', "'", "\n", "1", "a"]
    for _ in range(5_000):
        pieces = [
            draw.choice(parts)[draw.randrange(4) :] + draw.choice(glue)
            for _ in range(draw.randrange(1, 5))
        ]
        once = privacy.redact_text("".join(pieces))
        assert privacy.redact_text(once) == once


@pytest.mark.parametrize("text", ["{}_password=hunter2", 'a: 1, "{}.password": "hunter2"'])
def test_names_of_any_length_are_read(text: str) -> None:
    assert "hunter2" not in privacy.redact_text(text.format("long_name_" * 30))


@pytest.mark.parametrize("part", REPEATED.split("|"))
def test_time_grows_with_the_length_only(part: str) -> None:
    text = part * (200_000 // len(part))
    start = time.perf_counter()
    privacy.redact_text(text)
    assert time.perf_counter() - start < 5  # it takes about 0.1 s; 20 s and more if squared


def test_values_are_redacted_at_any_depth() -> None:
    class BrokenError(Exception):
        pass

    value = {
        "a": [{"Password": "hunter2", "rows": 3}, ("ann@example.org", 0.5)],
        "api": {"key": "k", "timeout": 4},
        "ann@example.org": 1,
        "bob@example.org": 2,
        "card": 4111111111111111,
        "error": BrokenError("no ann@example.org"),
        "path": Path("home/ann@example.org"),
        "bytes": b"ann@example.org",
        "texts": np.array(["ann@example.org", "b"]),
        "series": pd.Series(["ann@example.org", "b"]),
        "email": None,
        "phone": "",
        "seen": datetime(2024, 1, 1),
    }
    redacted = privacy.redact(value)
    assert redacted["texts"].tolist() == redacted.pop("series").tolist() == [REDACTED, "b"]
    assert list(redacted.pop("texts").shape) == [2]
    assert redacted == {
        "a": [{"Password": REDACTED, "rows": 3}, (REDACTED, 0.5)],
        "api": {"key": REDACTED, "timeout": 4},
        REDACTED: 1,
        f"{REDACTED} (2)": 2,
        "card": REDACTED,
        "error": f"BrokenError: no {REDACTED}",
        "path": str(Path(f"home/{REDACTED}")),
        "bytes": REDACTED,
        "email": None,
        "phone": "",
        "seen": datetime(2024, 1, 1),
    }
    assert value["a"] == [{"Password": "hunter2", "rows": 3}, ("ann@example.org", 0.5)]


@pytest.fixture
def people() -> pd.DataFrame:
    """Return rows with personal data in each kind of column, in the index and in a label."""
    table = pd.DataFrame(
        {
            "email": ["ann@example.org", None, "bob@example.org"],
            "phone": [5551234, 5551235, 5551236],
            "dob": pd.to_datetime(["1980-01-01", "1990-01-01", None]),
            "comment": ["call me at 4155552671", None, "nothing"],
            "kind": pd.Categorical(["ann@example.org", None, "b"]),
            "cells": [{"ssn": "123-45-6789", "n": 1}, None, ["ann@example.org"]],
            "number": [4111111111111111, 5500000000000004, None],
            "bob@example.org": [1, 0, 1],
            "size": [1.5, None, 2.5],
        },
        index=pd.Index(["ann@example.org", "b", "c"], name="who"),
    )
    return table


def test_tables_are_redacted_and_keep_their_shape_and_types(people: pd.DataFrame) -> None:
    before = people.copy(deep=True)
    redacted = privacy.redact_table(people)
    pd.testing.assert_frame_equal(people, before)
    expected = pd.DataFrame(
        {
            "email": [REDACTED, None, REDACTED],
            "phone": [np.nan] * 3,
            "dob": pd.to_datetime([None] * 3).astype(people["dob"].dtype),
            "comment": [f"call me at {REDACTED}", None, "nothing"],
            "kind": pd.Categorical([REDACTED, None, "b"]),
            "cells": [{"ssn": REDACTED, "n": 1}, None, [REDACTED]],
            "number": [np.nan] * 3,
            REDACTED: [1, 0, 1],
            "size": [1.5, None, 2.5],
        },
        index=pd.Index([REDACTED, "b", "c"], name="who"),
    )
    pd.testing.assert_frame_equal(redacted, expected)
    assert np.shares_memory(redacted["size"].to_numpy(), people["size"].to_numpy())


@pytest.mark.parametrize("text", TOKENS + PERSONAL)
def test_columns_are_searched_for_all_that_text_is(text: str) -> None:
    column = pd.Series([None, "nothing here", f"it is {text}, yes"])
    expected = [f"it is {REDACTED}, yes", "nothing here"]
    assert privacy.redact(column)[::-1][:2].tolist() == expected
    assert privacy.redact(column.astype(object))[::-1][:2].tolist() == expected


def test_assignments_in_columns_are_masked() -> None:
    texts = [
        "password=x1",
        "token: x1",
        '{"surname": "x1"}',
        '{"ssn": 11}',
        "u://a:x1@h",
        "Basic x1x1x1x1",
    ]
    column = pd.Series(texts, dtype="str")
    assert privacy.redact(column).str.contains("x1|11").sum() == 0


def test_levels_of_labels_and_of_the_index_are_searched() -> None:
    table = pd.DataFrame(
        [["x", "y"]],
        pd.MultiIndex.from_tuples([("ann@example.org", "17")], names=["a", "phone"]),
        pd.MultiIndex.from_tuples([("user", "email"), ("user", "size")]),
    )
    redacted = privacy.redact_table(table)
    assert redacted.iloc[0].tolist() == [REDACTED, "y"]
    assert redacted.index.tolist() == [(REDACTED, REDACTED)]


def test_personal_columns_are_left_out_unless_chosen_otherwise(people: pd.DataFrame) -> None:
    chosen: dict[str, privacy.Policy] = {"email": "mask", "phone": "keep", "size": "drop"}
    privacy.configure(keep=["phone"])
    policies = privacy.policies(people, chosen)
    assert policies == {"email": "mask", "dob": "drop", "number": "drop", "size": "drop"}
    protected, notes = privacy.protect(people, policies)
    assert list(protected) == ["email", "phone", "comment", "kind", "cells", REDACTED]
    assert protected["phone"].tolist() == [5551234, 5551235, 5551236]
    assert protected["email"].tolist()[::2] == [REDACTED] * 2
    assert protected["email"].isna().tolist() == [False, True, False]
    assert [note.partition(" (")[0] for note in notes] == [
        "column 'email': masked",
        "column 'dob' left out: its name says personal data",
        "column 'comment': personal data masked in 1 row",
        "column 'kind': personal data masked in 1 row",
        "column 'cells': personal data masked in 2 rows",
        "column 'number' left out: it holds credit card numbers",
        "column 'size' left out: privacy.drop",
    ]
    assert privacy.redact(notes) == notes


def test_a_kept_column_is_not_searched() -> None:
    privacy.configure(keep=["ip"])
    table = pd.DataFrame({"ip": ["93.184.216.34"]})
    protected, notes = privacy.protect(table, privacy.policies(table, {"ip": "keep"}))
    assert protected["ip"].tolist() == ["93.184.216.34"]
    assert notes == []


def test_a_policy_for_a_column_that_is_not_there(people: pd.DataFrame) -> None:
    message = r"privacy\.mask: no column 'emial' in the table; it has: email, phone"
    with pytest.raises(privacy.PrivacyError, match=message) as error:
        privacy.policies(people, {"emial": "mask"})
    assert "bob@" not in str(error.value)


def test_a_person_keeps_the_pseudonym(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "k" * 32)
    column = pd.Series(["17", " 17 ", "17.0", None, "18"], name="customer")
    result = privacy.pseudonymise(column)
    assert result.name == "customer"
    assert result.str.fullmatch("p_[0-9a-f]{32}").sum() == 4
    assert result.isna().tolist() == [False, False, False, True, False]
    seventeen, eighteen = result[0], result[4]
    assert (result[:3] == seventeen).all()
    assert seventeen != eighteen
    # Known from `printf 17 | openssl dgst -sha256 -hmac kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk`.
    assert seventeen == "p_f740509121c4f5426f1e01abd7120b5c"
    others = [
        [17, 17],
        [17.0, None],
        pd.array([17, None], dtype="Int64"),
        pd.Categorical(["17", None]),
    ]
    for other in others:
        assert privacy.pseudonymise(pd.Series(other))[0] == seventeen
    alike = privacy.pseudonymise(pd.Series(["Ann@Example.org", "ann@example.org"]))
    assert alike.nunique() == 1
    assert privacy.pseudonymise(pd.Series(["Ren\u00e9", "Rene\u0301", "Rene"])).nunique() == 2
    monkeypatch.setenv(KEY, "K" * 32)
    assert privacy.pseudonymise(column)[0] != seventeen


@pytest.mark.parametrize(("key", "complaint"), [(None, "not set"), ("hunter2", "too short")])
def test_no_pseudonyms_without_a_key(
    key: str | None, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY, raising=False)
    if key:
        monkeypatch.setenv(KEY, key)
    table = pd.DataFrame({"who": ["Ann"]})
    with pytest.raises(privacy.PrivacyError, match=f"{KEY} is {complaint}.*token_hex") as error:
        privacy.protect(table, {"who": "pseudonymise"})
    assert "hunter2" not in str(error.value)
