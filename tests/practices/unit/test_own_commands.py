"""The command line is put together of the rooms' commands and the project's own."""

from typing import Annotated, Any

import pytest
import typer
from mlflow_practices import cli, components
from mlflow_practices.cli import CommandLine
from mlflow_practices.errors import PracticeError, listed
from mlflow_practices.tracking.session import Session
from typer.testing import CliRunner, Result

import projects


@pytest.fixture
def command_line() -> CommandLine:
    return CommandLine(projects.PACKAGE)


def run(command_line: CommandLine, *words: str) -> Result:
    return CliRunner().invoke(command_line.app, list(words))


def test_a_command_of_the_project_gets_the_session_and_its_own_arguments(
    command_line: CommandLine, settings: object
) -> None:
    @command_line.command("greet")
    def greet(
        session: Session,
        name: str,
        times: Annotated[int, typer.Option(help="How often.")] = 1,
        *,
        loud: bool = False,
    ) -> None:
        """Greet somebody."""
        text = f"{name} of {session.settings.project.name}, seed {session.settings.training.seed}"
        for _ in range(times):
            session.console.print(text.upper() if loud else text)

    done = run(command_line, "greet", "Ann", "--times", "2", "--set", "training.seed=7")
    assert done.stdout == "Ann of example, seed 7\n" * 2, done.output
    assert run(command_line, "greet", "Ann", "--loud").stdout == "ANN OF EXAMPLE, SEED 42\n"
    helped = run(command_line, "greet", "--help").stdout
    for words in ("Greet somebody.", "How often.", "--env", "--set", "--debug"):
        assert words in helped
    wrong = run(command_line, "greet", "Ann", "--set", "trainng.seed=7")
    assert wrong.exit_code == 1
    assert wrong.stderr.startswith("error: --set: trainng: unknown key")


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.usefixtures("project")
def test_a_command_may_stand_in_a_group_of_its_own_or_of_the_practices(before: bool) -> None:
    def name(session: Session) -> None:
        """Print the project's name."""
        session.console.print(session.settings.project.name)

    command_line = CommandLine(projects.PACKAGE)
    if not before:
        assert run(command_line, "--help").exit_code == 0
    command_line.command("report name")(name)
    command_line.command("data name")(name)
    assert run(command_line, "report", "name").stdout == "example\n"
    assert run(command_line, "data", "name").stdout == "example\n"
    assert "Print the project's name." in run(command_line, "report", "--help").stdout
    helped = run(command_line, "--help").stdout
    assert "report" in helped
    assert "Look at the versions of the prepared data." in helped
    assert "verify" in run(command_line, "data", "--help").stdout  # the others are still there


def test_a_projects_own_command_replaces_that_of_the_practices(
    command_line: CommandLine, project: object
) -> None:
    @command_line.command("score")
    def score(session: Session) -> None:
        """Score in our own way."""
        session.console.print("our own way")

    assert run(command_line, "score").stdout == "our own way\n"
    assert run(command_line, "--help").stdout.count(" score ") == 1


def test_every_command_of_the_rooms_has_a_name_a_help_and_the_common_options(
    command_line: CommandLine,
) -> None:
    names = [name for room in components.modules("commands") for name in room.COMMANDS]
    assert len(names) == len(set(names)) > 20
    for name in names:
        done = run(command_line, *name.split(), "--help")
        assert done.exit_code == 0, done.output
        for words in ("--env", "--set", "--debug"):
            assert words in done.stdout, name


def test_names_that_no_command_can_have_are_refused(command_line: CommandLine) -> None:
    command_line.command("greet")
    with pytest.raises(ValueError, match="'greet': already taken"):
        command_line.command("greet")
    with pytest.raises(ValueError, match="not of the form `command` or `group command`"):
        command_line.command("a b c")


def test_a_function_that_is_no_command_is_refused(command_line: CommandLine) -> None:
    with pytest.raises(TypeError, match="nothing: a command takes the session first"):

        @command_line.command("nothing")
        def nothing() -> None:
            """Do nothing."""

    with pytest.raises(TypeError, match="other: every command has env; rename yours"):

        @command_line.command("other")
        def other(session: Session, env: str) -> None:
            """Do nothing."""


def failing(error: BaseException) -> CommandLine:
    command_line = CommandLine(projects.PACKAGE)

    @command_line.command("fail")
    def fail(session: Session) -> None:
        """Fail."""
        raise error

    return command_line


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (PracticeError("configs/x.yaml: mend it"), 1, "error: configs/x.yaml: mend it\n"),
        (PracticeError(listed("mend", ["one", "two"])), 1, "error: mend:\n  one\n  two\n"),
        (KeyError("a\nb"), 1, "error: KeyError: 'a\\nb'\n"),
        (RuntimeError("of ann@example.org"), 1, "error: RuntimeError: of [REDACTED]\n"),
        (typer.Exit(3), 3, ""),
        (typer.Abort(), 1, "Aborted.\n"),
    ],
)
@pytest.mark.usefixtures("project")
def test_an_error_is_readable_and_an_exit_code_the_commands_own(
    error: BaseException, code: int, said: str
) -> None:
    done = run(failing(error), "fail")
    assert (done.exit_code, done.stderr) == (code, said)


@pytest.mark.usefixtures("project")
def test_a_wrong_argument_that_a_command_finds_is_one_of_usage() -> None:
    done = run(failing(typer.BadParameter("no such day")), "fail")
    assert done.exit_code == 2
    assert "no such day" in done.stderr


def test_a_folder_with_compiled_files_alone_is_no_component(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "serving/__pycache__").mkdir(parents=True)
    monkeypatch.setattr(components, "__file__", str(tmp_path / "components.py"))
    assert components.find("serving") is None
    assert list(components.modules("commands")) == []
    assert cli.CommandLine("x").app is not None
