"""The `cmt-search` program. Exit codes: 0 success, 1 bug, 2 user error, 130 interrupted."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cmt_search.cli.console import INTERRUPTED, quietly
from cmt_search.errors import CmtSearchError

_HELP = (
    "Find the rule by which a vision backbone should grow with compute, and derive the family. "
    "Launch: run, resume, status, runs. Inspect: report, inspect. Export: family, export."
)
_INTERRUPTED_TEXT = "interrupted; `cmt-search resume RUN` continues a run\n"

# Command: its module, and its line in the list of commands.
_COMMANDS = {
    "run": ("launch", "Run a search, or resume it where it stopped."),
    "resume": ("launch", "Continue a run that was interrupted, or extend it."),
    "status": ("status", "Progress, best so far, cost, failures, and what is left."),
    "report": ("explore", "Write a self-contained report.html, and print the verdict."),
    "inspect": ("explore", "Explore runs in the browser, live while they run."),
    "new": ("new", "Write a commented space file from a few questions."),
    "calibrate": ("calibration", "Measure whether short trainings rank networks."),
    "confirm": ("measure", "Train the best rules longer, on the test split."),
    "family": ("family", "Derive the models of a rule at given budgets."),
    "export": ("exporting", "Export variants, families, runs and trials."),
    "rules": ("rules", "List the named scaling rules around a base."),
    "profile": ("profiling", "Show the cost of a network, stage by stage."),
    "train": ("training", "Train one network for longer, with checkpoints."),
    "validate": ("launch", "Check a space file, and show what it would train."),
    "runs": ("status", "List the runs of a folder."),
}
_OTHER_NAMES = {  # guesses that are not close in spelling
    "search": "run",
    "start": "run",
    "continue": "resume",
    "check": "validate",
    "plan": "validate",
    "init": "new",
    "list": "runs",
    "explore": "inspect",
    "plot": "report",
}
_GLOBAL_OPTIONS = {
    "--debug": "debug",
    "--quiet": "quiet",
    "-q": "quiet",
}  # before or after a command
Debug = Annotated[bool, typer.Option("--debug", help="Show where an error came from.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print errors and the bare result, and nothing else.")
]


class _Commands(Mapping[str, Any]):
    """The commands by name; each is imported when it is looked up."""

    def __getitem__(self, name: str) -> Any:
        return _load(name)

    def __iter__(self) -> Iterator[str]:
        return iter(_COMMANDS)

    def __len__(self) -> int:
        return len(_COMMANDS)


@cache
def _load(name: str) -> Any:
    """Import a command and build its parser.

    Raises:
        KeyError: there is no such command.
    """
    module, short_help = _COMMANDS[name]
    function = getattr(import_module(f"cmt_search.cli.{module}"), name)
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(name, short_help=short_help)(function)
    command: Any = typer.main.get_command(app)
    command.no_args_is_help = any(parameter.required for parameter in command.params)
    return command


class LazyGroup(TyperGroup):
    """A group whose commands are imported when they are called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Commands()  # type: ignore[assignment]

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])

    def invoke(self, ctx: Any) -> Any:
        """Run the command; return 130 if it is interrupted."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            sys.stderr.write(_INTERRUPTED_TEXT)
            return INTERRUPTED

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that is called; suggest one for a name that does not exist."""
        if (name := _OTHER_NAMES.get(args[0])) and not ctx.resilient_parsing:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {name!r}?")
        return super().resolve_command(ctx, args)


def _print_version(is_requested: bool) -> None:
    if is_requested:
        from importlib.metadata import version

        sys.stdout.write(f"cmt-search {version('cmt-search')}\n")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version."),
]


def build_app() -> typer.Typer:
    """Return the program, which imports the module of a command when it is called."""
    app = typer.Typer(
        name="cmt-search",
        help=_HELP,
        cls=LazyGroup,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )

    @app.callback()
    def options(debug: Debug = False, quiet: Quiet = False, version: Version = False) -> None:
        del debug, quiet, version  # read by `invoke`, before or after the command

    return app


def invoke(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; bugs are raised."""
    words, options = _split_global_options(arguments)
    try:
        with quietly("quiet" in options):
            result = build_app()(words, standalone_mode=False)
    except CmtSearchError as error:
        if "debug" in options:
            raise
        sys.stderr.write(f"error: {error}\n")
        return 2
    except typer.Abort:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED
    except Exception as error:
        # the parser's own errors (unknown option, missing argument) print themselves
        if show := getattr(error, "show", None):
            show()
            return 2
        raise
    return result if isinstance(result, int) else 0


def _split_global_options(arguments: Sequence[str]) -> tuple[list[str], set[str]]:
    """Return the words without the options that every command takes, and those options.

    What follows `--` is not an option.
    """
    words = list(arguments)
    end = words.index("--") if "--" in words else len(words)
    remaining = [word for word in words[:end] if word not in _GLOBAL_OPTIONS]
    options = {_GLOBAL_OPTIONS[word] for word in words[:end] if word in _GLOBAL_OPTIONS}
    return remaining + words[end:], options


def main() -> None:
    """Run the `cmt-search` program."""
    try:
        code = invoke(sys.argv[1:])
    except KeyboardInterrupt:
        sys.stderr.write(_INTERRUPTED_TEXT)
        code = INTERRUPTED
    sys.exit(code)
