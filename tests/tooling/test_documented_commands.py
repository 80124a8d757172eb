"""Documents: every command line that a page shows can be typed as it stands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any, Final

import pytest
import typer

import faults.command
from deployment import ROOT
from placer.cli.main import app
from suites.process import tracked

PAGES = tracked("*.md")
#: Words that end one command of a line and begin another.
SEPARATORS: Final = {"|", "||", "&&", ";", "(", ")", "$(", "&"}
BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: What ./demo knows; test_scripts.py tries each.
DEMO: Final = {"up", "status", "report", "env", "fault", "down"}


def shell_lines(text: str) -> Iterator[str]:
    """Lines of a page's blocks that are meant for a shell; in a console's they begin with "$ "."""
    for language, content in BLOCK.findall(text):
        lines = content.replace("\\\n", " ").splitlines()
        if language in ("sh", "bash", "shell"):
            yield from lines
        elif language == "console":
            yield from (line[2:] for line in lines if line.startswith("$ "))


def words(line: str) -> list[str]:
    """The words of a shell's line; quotes go, comments too."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    try:
        return list(lexer)
    except ValueError:  # a quote goes on in the next line: a body, not a command's name
        return line.split()


def calls(text: str, program: str) -> Iterator[list[str]]:
    """The arguments of each call of ``program`` in a page's blocks."""
    for line in shell_lines(text):
        found: list[str] | None = None
        for word in [*words(line), ";"]:
            if word in SEPARATORS or word.startswith((">", "<")):
                if found is not None:
                    yield found
                found = None
            elif found is not None:
                found.append(word)
            elif re.fullmatch(rf"(.*/|.*\$\()?{program}", word):
                found = []


def parse(arguments: list[str], *, whole: bool) -> None:
    """Raises what the command line would say of ``arguments``; runs nothing.

    ``whole``: as a call. Else as words in a text, where what is required may be left out.
    """
    command: Any = typer.main.get_command(app)
    context = command.context_class(command, info_name="placer")
    rest = list(arguments)
    while hasattr(command, "list_commands") and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        command = command.get_command(context, name)
        assert command is not None, f"placer {' '.join(arguments)}: there is no {name}"
        context = command.context_class(command, info_name=name, parent=context)
    if whole and not {"--help", "--version"} & set(rest):
        assert not hasattr(command, "list_commands"), f"placer {' '.join(arguments)} does nothing"
        command.make_context(command.name, rest, parent=context.parent)
        return
    known = {option for one in command.params for option in one.opts} | {"--help"}
    unknown = [word for word in rest if word.startswith("--") and word.split("=")[0] not in known]
    assert not unknown, f"placer {' '.join(arguments)}: there is no {unknown[0]}"


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_placer_exist(page: str) -> None:
    """Each call in a block is one that the command line takes; each in a text has a name that there is."""
    text = (ROOT / page).read_text()
    for arguments in calls(text, "placer"):
        try:
            parse(arguments, whole=True)
        except typer.Exit:
            pass
        except Exception as error:
            pytest.fail(f"{page}: placer {' '.join(arguments)}: {error}")
    for said in re.findall(r"`placer ([a-z][^`\n]*)`", BLOCK.sub("", text)):
        if "…" not in said:
            parse([word for word in words(said) if word.isascii()], whole=False)


@pytest.mark.parametrize("page", PAGES)
def test_other_commands_exist(page: str) -> None:
    """./demo and ./test know the word after them; playbooks and the repository's inventories are there."""
    text = (ROOT / page).read_text()
    for arguments in calls(text, r"\./demo"):
        assert not arguments or arguments[0] in DEMO or arguments[0].startswith("-"), arguments
        if arguments[:1] == ["fault"] and "--help" not in arguments:
            faults.command.parser().parse_args(arguments[1:])  # it ends the test for a wrong word
    for arguments in calls(text, "ansible-playbook"):
        for word in arguments:
            if word.startswith(("playbooks/", "inventories/")) and "/mine" not in word:
                assert (ROOT / word).exists(), f"{page}: {word}"


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        pytest.param("```sh\nplacer host list  # all\n```\n", ["host", "list"], id="a comment"),
        pytest.param(
            "```sh\nplacer \\\n  version | cat\n```\n", ["version"], id="two lines, a pipe"
        ),
        pytest.param(
            '```sh\nID=$(placer host list --json | jq -r ".id")\n```\n',
            ["host", "list", "--json"],
            id="in a substitution",
        ),
        pytest.param("```console\n$ placer version\nplacer 1\n```\n", ["version"], id="a console"),
    ],
)
def test_calls_are_found(text: str, arguments: list[str]) -> None:
    """The gate sees what it is to judge."""
    assert list(calls(text, "placer")) == [arguments]


@pytest.mark.parametrize(
    "call",
    ["hots list", "host", "host list --cel nyc1", "request show", "request create -r VCPU=1 more"],
)
def test_a_call_that_cannot_be_typed_is_seen(call: str) -> None:
    """A wrong name, an option that nobody has, an argument too few or too many."""
    with pytest.raises(Exception, match=r"there is no|does nothing|o such option|issing|nexpected"):
        parse(call.split(), whole=True)
