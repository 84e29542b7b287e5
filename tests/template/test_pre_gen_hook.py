"""The answers that are refused, with their remedies, and those that are not."""

import json
import keyword
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cookiecutter.exceptions import FailedHookException

from renderings import Bake, Render

TEXTS = [
    "project_name",
    "project_slug",
    "package_name",
    "description",
    "author_name",
    "author_email",
    "tracking_uri",
]
HTTP_ACCOUNT = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"


def complaints(hook: ModuleType, answers: dict[str, Any], prompt: str, value: object) -> list[str]:
    """Return what the hook says of one changed answer; it must speak of that one only."""
    found: list[str] = hook.problems({**answers, prompt: value})
    assert all(line.startswith(f"{prompt}: ") for line in found), found
    assert all("\n" not in line and line.isascii() for line in found), found
    return found


def test_the_default_answers_are_fine(pre_hook: ModuleType, answers: dict[str, Any]) -> None:
    assert pre_hook.problems(answers) == []


@pytest.mark.parametrize(
    "text",
    [
        'say "hi"',
        "it's",
        "back\\slash\\",
        "{braces} }} %} #}",
        "$(touch CANARY) `touch CANARY` ${HOME} %PATH%",
        "été 日本語 Привет",
        "rocket \U0001f680 and family \U0001f468\u200d\U0001f469\u200d\U0001f467",
        "\u0639\u0631\u0628\u064a \u05e2\u05d1\u05e8\u05d9\u05ea \u200fmark",
        "# - * > | & ; : = @ ~ ^",
        "2026. The year",
    ],
)
@pytest.mark.parametrize("prompt", ["project_name", "description", "author_name"])
def test_free_text_may_hold_what_people_type(
    pre_hook: ModuleType, answers: dict[str, Any], prompt: str, text: str
) -> None:
    assert complaints(pre_hook, answers, prompt, text) == []


@pytest.mark.parametrize(
    "char",
    list("\0\t\n\r\x1b\x7f\x85\u2028\u2029\ud800\udfff\ufdd0\ufdef\ufffe\uffff\U0001fffe\U0010ffff")
    + list("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"),
)
@pytest.mark.parametrize("prompt", TEXTS)
def test_control_and_direction_characters_are_refused(
    pre_hook: ModuleType, answers: dict[str, Any], prompt: str, char: str
) -> None:
    found = complaints(pre_hook, answers, prompt, f"{answers[prompt]}{char}x")
    assert f"(U+{ord(char):04X}); remove it" in found[0]


@pytest.mark.parametrize("mark", ["{" + "{", "{" + "%", "{" + "#"])
@pytest.mark.parametrize("prompt", TEXTS)
def test_jinja_marks_are_refused(
    pre_hook: ModuleType, answers: dict[str, Any], prompt: str, mark: str
) -> None:
    found = complaints(pre_hook, answers, prompt, f"a{mark}b")
    assert "Jinja mark" in found[0]
    assert "put a space between" in found[0]


@pytest.mark.parametrize("text", [" x", "x ", "\u3000x", "x\u00a0"])
@pytest.mark.parametrize("prompt", TEXTS)
def test_outer_white_space_is_refused(
    pre_hook: ModuleType, answers: dict[str, Any], prompt: str, text: str
) -> None:
    found = complaints(pre_hook, answers, prompt, text)
    assert f"{prompt}: begins or ends with white space; remove it" in found


@pytest.mark.parametrize("prompt", ["project_name", "author_name"])
def test_names_may_not_be_blank(pre_hook: ModuleType, answers: dict[str, Any], prompt: str) -> None:
    assert complaints(pre_hook, answers, prompt, "") == [f"{prompt}: is blank; type a name"]


def test_a_description_and_a_tracking_address_may_be_empty(
    pre_hook: ModuleType, answers: dict[str, Any]
) -> None:
    assert pre_hook.problems({**answers, "description": "", "tracking_uri": ""}) == []


@pytest.mark.parametrize("value", [None, 5, ["x"], {"a": 1}])
@pytest.mark.parametrize("prompt", TEXTS)
def test_what_is_not_text_is_refused(
    pre_hook: ModuleType, answers: dict[str, Any], prompt: str, value: object
) -> None:
    assert complaints(pre_hook, answers, prompt, value) == [f"{prompt}: is not text; type a text"]


@pytest.mark.parametrize(
    "slug", ["a", "7", "customer-churn", "3d-scan", "a--b", "x" * 60, "console"]
)
def test_good_slugs(pre_hook: ModuleType, answers: dict[str, Any], slug: str) -> None:
    assert complaints(pre_hook, answers, "project_slug", slug) == []


@pytest.mark.parametrize(
    ("slug", "fault", "remedy"),
    [
        *(
            (slug, "lower-case letters, digits and hyphens", "write it like customer-churn")
            for slug in ["", "-a", "a-", "-", "My-Slug", "a_b", "a.b", "a b", "é", "٣", "a/b", ".."]
        ),
        ("../../etc", "lower-case letters", "write it like customer-churn"),
        ("x" * 61, "1 to 60", "write it like customer-churn"),
        *(
            (slug, "device name on Windows", f"{slug}-model")
            for slug in ["con", "nul", "aux", "prn"]
        ),
        (
            "fraud-production",
            "is the name of fraud's model in production",
            "fraud-production-model",
        ),
        *((slug, "device name on Windows", f"{slug}-model") for slug in ["com1", "com9", "lpt1"]),
        *(
            (slug, "package or command that the project installs", f"{slug}-model")
            for slug in ["mlflow", "scikit-learn", "scikit--learn", "python", "pip", "pre-commit"]
        ),
    ],
)
def test_bad_slugs(
    pre_hook: ModuleType, answers: dict[str, Any], slug: str, fault: str, remedy: str
) -> None:
    [line] = complaints(pre_hook, answers, "project_slug", slug)
    assert fault in line
    assert remedy in line


@pytest.mark.parametrize("name", ["a", "_private", "customer_churn", "Churn2", "x" * 60, "classes"])
def test_good_package_names(pre_hook: ModuleType, answers: dict[str, Any], name: str) -> None:
    assert complaints(pre_hook, answers, "package_name", name) == []


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        *(
            (name, "not an identifier")
            for name in ["", "1a", "a-b", "a.b", "été", "\uff41", "x" * 61]
        ),
        *((name, "word of the Python language") for name in [*keyword.kwlist, *keyword.softkwlist]),
        *((name, "word of the Python language") for name in ["__init__", "__main__", "__", "____"]),
        *((name, "standard library") for name in ["json", "JSON", "distutils", "compression"]),
        *(
            (name, "the project installs")
            for name in ["mlflow", "SKLearn", "pandas", "PIL", "yaml"]
        ),
        *(
            (name, "another folder")
            for name in ["tests", "Data", "src", "configs", "models", "NUL"]
        ),
        *((name, "another folder") for name in ["notebooks", "deploy", "setup", "com3", "mlruns"]),
    ],
)
def test_bad_package_names(
    pre_hook: ModuleType, answers: dict[str, Any], name: str, fault: str
) -> None:
    [line] = complaints(pre_hook, answers, "package_name", name)
    assert fault in line
    assert "write it like customer_churn" in line


def test_no_standard_module_may_be_the_package(
    pre_hook: ModuleType, answers: dict[str, Any]
) -> None:
    passed = [
        name
        for name in sys.stdlib_module_names
        if not complaints(pre_hook, answers, "package_name", name)
    ]
    assert passed == []


def test_nothing_that_the_project_installs_may_be_shadowed(
    pre_hook: ModuleType, answers: dict[str, Any], project_python: Path, render: Render
) -> None:
    """The truth comes from the project's own environment and lock: modules, packages, commands."""
    code = """
import json
from importlib.metadata import distributions, entry_points, packages_distributions
import re, sys
# Of this environment, which holds the template's tools too, what the project installs.
locked = {re.sub(r"[-_.]+", "-", name).lower() for name in sys.argv[1:]} - {"pywin32"}
def installs(name):
    return re.sub(r"[-_.]+", "-", name).lower() in locked
names = {
    name
    for name, owners in packages_distributions().items()
    if name.isidentifier() and any(map(installs, owners))
}
names |= {d.name for d in distributions() if installs(d.name)}
names |= {e.name for e in entry_points(group="console_scripts") if installs(e.dist.name)}
print(json.dumps(sorted(names)))
"""
    lock = (render() / "requirements-dev.txt").read_text(encoding="utf-8")
    locked = re.findall(r"^[\w.-]+", lock, re.MULTILINE)
    command = [project_python, "-c", code, *locked]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    names = {*json.loads(done.stdout), *locked, "mlflow_practices"}
    slugs = {re.sub(r"[-_.]+", "-", name).lower() for name in names}
    assert {"mlflow", "sklearn", "scikit-learn", "ruff", "pytest"} <= slugs
    missing = [
        slug
        for slug in sorted(slugs)
        if re.fullmatch("[a-z0-9][a-z0-9-]*", slug)
        and not pre_hook.problems({**answers, "project_slug": slug})
    ]
    missing += [
        name
        for name in sorted(slug.replace("-", "_") for slug in slugs)
        if name.isidentifier() and not pre_hook.problems({**answers, "package_name": name})
    ]
    assert missing == [], "add these to INSTALLED in hooks/pre_gen_project.py"


@pytest.mark.parametrize(
    "uri",
    [
        "http://localhost:5000",
        "https://mlflow.example.com",
        "https://mlflow.example.com/team/mlflow/",
        "http://mlflow_server:5000",
        "http://192.168.0.1:80",
        "http://[::1]:5000",
        "https://münchen.example",
        "sqlite:///mlflow.db",
        "sqlite:////srv/mlflow/store.db",
        "sqlite:///C:/Users/me/mlflow.db",
        "sqlite:////home/jörg/a@b:c.db",
        "postgresql://db/mlflow",
        "postgresql://me@db.example.com:5432/mlflow?sslmode=verify-full&passfile=/run/pgpass",
        "postgresql+psycopg://me@db/mlflow",
    ],
)
def test_good_tracking_addresses(pre_hook: ModuleType, answers: dict[str, Any], uri: str) -> None:
    assert complaints(pre_hook, answers, "tracking_uri", uri) == []


@pytest.mark.parametrize(
    ("uri", "fault", "remedy"),
    [
        *(
            (uri, "no longer writes file stores", "use sqlite:///mlflow.db")
            for uri in [
                "file:///srv/mlruns",
                "file:mlruns",
                "FILE:///x",
                "./mlruns",
                "mlruns",
                "/x",
            ]
        ),
        *(
            (uri, "unknown scheme", "http://, https://, sqlite://, postgresql://")
            for uri in ["mysql://db/x", "postgres://db/x", "databricks://p", "HTTP://x", "s3://b"]
        ),
        ("postgresql+psycopg2://db/x", "unknown scheme", "postgresql+psycopg://"),
        *(
            (uri, "no valid host and port", "write it like ")
            for uri in ["http://", "https:///x", "http://:5000", "http://h:99999", "http://h:0"]
        ),
        *(
            (uri, "no valid host and port", "write it like ")
            for uri in [
                "http://h:port",
                "http://[::1",
                "http://[::g]:1",
                "http://[1:2]/",
                "http://a..:",
            ]
        ),
        *(
            (uri, "no valid host and port", "write it like postgresql://")
            for uri in ["postgresql:///mlflow", "postgresql://h1,h2/x", "postgresql://me@/x"]
        ),
        *(
            (uri, "names no SQLite file", "use sqlite:///mlflow.db")
            for uri in ["sqlite://", "sqlite:///", "sqlite://mlflow.db", "sqlite:///:memory:"]
        ),
        ("sqlite:///folder/", "names no SQLite file", "use sqlite:///mlflow.db"),
        ("sqlite:///x.db?mode=ro", "has a query", "remove it"),
        ("http://h?x=1", "has a query", "remove it"),
        *(
            (f"http://h/a{char}b", "holds white space, a quote", "remove it")
            for char in " '\"\\#$`<>|;()*!^"
        ),
    ],
)
def test_bad_tracking_addresses(
    pre_hook: ModuleType, answers: dict[str, Any], uri: str, fault: str, remedy: str
) -> None:
    found = complaints(pre_hook, answers, "tracking_uri", uri)
    assert any(fault in line and remedy in line for line in found), found


@pytest.mark.parametrize(
    ("uri", "remedy"),
    [
        ("http://user:hunter2@h", HTTP_ACCOUNT),
        ("https://hunter2@h:5000", HTTP_ACCOUNT),
        ("http://h/?token=hunter2", HTTP_ACCOUNT),
        ("http://u:hunter2@[::1", HTTP_ACCOUNT),
        ("postgresql://me:hunter2@db/x", "PGPASSWORD"),
        ("postgresql://me:@db/x", "PGPASSWORD"),
        ("postgresql+psycopg://me:12/hunter2@db/x", "PGPASSWORD"),
        ("postgresql://me:12?hunter2@db/x", "PGPASSWORD"),
        ("postgresql://me:hunter2@h:99999/x", "PGPASSWORD"),
        ("postgresql://me@db/x?password=hunter2", "PGPASSWORD"),
        ("postgresql://me@db/x?PASSWD=hunter2", "PGPASSWORD"),
        ("postgresql://me@db/x?a=b&sslpassword=hunter2", "PGPASSWORD"),
        ("postgresql://me@db/x?%70assword=hunter2", "PGPASSWORD"),
        ("postgresql://db/x?client_secret=hunter2", "PGPASSWORD"),
        ("postgresql://db/x?api_key=hunter2", "PGPASSWORD"),
        ("postgresql://db/x?pwd=hunter2", "PGPASSWORD"),
        ("mysql://me:hunter2@db/x", HTTP_ACCOUNT),
        ("me:hunter2@db", "use sqlite:///mlflow.db"),
    ],
)
def test_a_password_is_refused_and_never_shown(
    pre_hook: ModuleType, answers: dict[str, Any], uri: str, remedy: str
) -> None:
    found = complaints(pre_hook, answers, "tracking_uri", uri)
    assert any(remedy in line for line in found), found
    assert "hunter2" not in "".join(found)
    if "://" in uri:
        assert any("which would be stored in git" in line for line in found), found


@pytest.mark.parametrize(
    "address",
    ["you@example.com", "o'neil+ml@mail.example.co.uk", "a.b_c-d%e@xn--mnchen-3ya.de", "1@2.co"],
)
def test_good_addresses(pre_hook: ModuleType, answers: dict[str, Any], address: str) -> None:
    assert complaints(pre_hook, answers, "author_email", address) == []


@pytest.mark.parametrize(
    "address",
    [
        *("", "you", "you@", "@example.com", "you@localhost", "a b@example.com", "a@b@example.com"),
        *(".a@example.com", "a.@example.com", "a..b@example.com", "a@-b.com", "a@b-.com"),
        *("a@b..com", "a@example.c", "1@2.3d", "é@example.com", "<a@example.com>", "a@b.com,"),
        *('"a"@example.com', "`a`@b.co", "a@" + "b" * 250 + ".com", "a@" + "b-" * 5000),
    ],
)
def test_bad_addresses(pre_hook: ModuleType, answers: dict[str, Any], address: str) -> None:
    [line] = complaints(pre_hook, answers, "author_email", address)
    assert "is not an e-mail address; write it like you@example.com" in line
    assert len(line) < 200


@pytest.mark.parametrize("prompt", ["problem_type", "python_version", "license", "pins"])
@pytest.mark.parametrize("value", ["other", "", None, 3.11, ["MIT"]])
def test_unknown_choices_are_refused(
    pre_hook: ModuleType,
    answers: dict[str, Any],
    template: Path,
    prompt: str,
    value: object,
) -> None:
    """Cookiecutter checks a choice that it is given, but not one in a file that it replays."""
    choices = json.loads((template / "cookiecutter.json").read_text(encoding="utf-8"))[prompt]
    for choice in choices:
        assert pre_hook.problems({**answers, prompt: choice}) == []
    [line] = complaints(pre_hook, answers, prompt, value)
    assert line.endswith(f"choose {' or '.join(choices)}")


def test_cookiecutter_shows_all_faults_and_leaves_nothing(
    bake: Bake, capfd: pytest.CaptureFixture[str]
) -> None:
    baked = bake(
        project_name="Line\nbreak",
        project_slug="My Slug",
        package_name="mlflow",
        description="é\u202e",
        author_name=" ",
        author_email="nobody",
        tracking_uri="postgresql://me:hunter2@db/x",
    )
    assert isinstance(baked.exception, FailedHookException)
    assert list(baked.folder.iterdir()) == []
    shown = capfd.readouterr()
    for prompt in TEXTS:
        assert f"\n  {prompt}: " in shown.err
    assert "hunter2" not in shown.err + shown.out


def test_a_replayed_file_is_checked_too(
    template: Path, answers: dict[str, Any], tmp_path: Path
) -> None:
    replay = tmp_path / "answers.json"
    replay.write_text(json.dumps({"cookiecutter": {**answers, "license": "GPL"}}), encoding="utf-8")
    command = [sys.executable, "-m", "cookiecutter", str(template), "--replay-file", str(replay)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "license: 'GPL' is unknown; choose MIT or Apache-2.0" in done.stderr
    assert list(tmp_path.iterdir()) == [replay]


def test_the_messages_print_on_any_console(template: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "cookiecutter",
        str(template),
        "--no-input",
        "project_slug=日本",
    ]
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252:strict", "PYTHONUTF8": "0"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert r"project_slug: '\u65e5\u672c' is not" in done.stderr
    assert "UnicodeEncodeError" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_older_python_is_named(
    pre_hook: ModuleType,
    answers: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(pre_hook, "ANSWERS", json.dumps(answers))
    assert pre_hook.main() == 0
    monkeypatch.setattr(sys, "version_info", (3, 10, 9))
    assert pre_hook.main() == 1
    assert (
        "runs on a Python before 3.11; install it with Python 3.11 or later"
        in capsys.readouterr().err
    )
