"""What all commands share: discovery, ``--json --quiet --debug``, and errors as sentences."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Annotated, Any, NamedTuple

import typer

from gossamer import errors
from gossamer.cli.output import Output
from gossamer.registry import ZEROS, setting_meant
from gossamer.version import __version__

USAGE_ERRORS = (errors.ConfigError, errors.DensityError, errors.PatternError)
Command = Callable[..., None]


class Flag(NamedTuple):
    """One option that is an override of a dotted configuration setting."""

    name: str
    kind: Any
    help: str
    setting: str


_commands: dict[str, Command] = {}
_COMMON = {
    "as_json": Annotated[
        bool, typer.Option("--json", help="Print JSON on stdout; progress stays on stderr.")
    ],
    "quiet": Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no remarks.")],
    "debug": Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")],
}


def command(flags: Sequence[Flag] = ()) -> Callable[[Command], Command]:
    """Make a function a command of its own name, with ``--json``, ``--quiet`` and ``--debug``.

    Args:
        flags: options that the function gets in one dict ``overrides``: setting -> value, of those given.

    Returns:
        A decorator. The function's first parameter is the Output; the others are Typer parameters.

    Example:
        >>> @command()
        ... def hello(out: Output) -> None: out.result({"hello": "world"}, lambda: "hello world")
        >>> del _commands["hello"]
    """

    def decorate(function: Command) -> Command:
        def run(*, as_json: bool, quiet: bool, debug: bool, **arguments: Any) -> None:
            out = Output(as_json=as_json, quiet=quiet)
            if flags:
                given = {flag.setting: arguments.pop(flag.name) for flag in flags}
                arguments["overrides"] = {name: value for name, value in given.items() if value is not None}
            unknown = {word: arguments.pop(word, None) for word in ZEROS}
            try:
                _refuse_zeros(unknown)
                _with_packages(function, out, arguments)
            except (errors.GossamerError, OSError) as error:
                if debug:
                    raise
                out.failed(error)
                raise typer.Exit(2 if isinstance(error, USAGE_ERRORS) else 1) from None

        parameters = _parameters(function, flags)
        run.__name__, run.__doc__ = function.__name__, function.__doc__
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        _commands[function.__name__] = run
        return function

    return decorate


def _refuse_zeros(given: Mapping[str, float | None]) -> None:
    """Answer options that count the zeros with the one that counts connections; raises ConfigError."""
    for word, value in given.items():
        if value is not None:
            option = f"--{word.replace('_', '-')}"
            hint = setting_meant(word, value, ("density",))
            raise errors.ConfigError(option, expected="--density", got=f"{option} {value:g}", hint=hint)


def _with_packages(function: Command, out: Output, arguments: dict[str, Any]) -> None:
    """Call a command; a package that it needs and that is not there is an error of ours."""
    try:
        function(out, **arguments)
    except ModuleNotFoundError as error:
        if isinstance(error, errors.GossamerError):
            raise
        raise errors.MissingPackage.behind(error) from error


def _parameters(function: Command, flags: Sequence[Flag]) -> list[inspect.Parameter]:
    """What Typer sees: the function's own parameters, the flags, what is answered only, and what all commands share."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    kept = [parameter.replace(kind=keyword) for parameter in own if parameter.name != "overrides"]
    options = {flag.name: Annotated[flag.kind | None, typer.Option(help=flag.help)] for flag in flags}
    if "density" in {*options, *(parameter.name for parameter in kept)}:
        options |= dict.fromkeys(ZEROS, Annotated[float | None, typer.Option(hidden=True)])
    added = [
        inspect.Parameter(name, keyword, default=None, annotation=kind) for name, kind in options.items()
    ]
    common = [
        inspect.Parameter(name, keyword, default=False, annotation=kind) for name, kind in _COMMON.items()
    ]
    return [*kept, *added, *common]


def app() -> typer.Typer:
    """The whole command line: every module in ``gossamer.cli.commands`` is a command.

    Returns:
        typer.Typer.
    Cost: imports the command modules, none of which imports torch.

    Example:
        >>> callable(app())
        True
    """
    package = import_module("gossamer.cli.commands")
    for module in sorted(info.name for info in pkgutil.iter_modules(package.__path__)):
        import_module(f"{package.__name__}.{module}")
    whole = typer.Typer(
        name="gossamer",
        help="Train and run truly sparse neural networks.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    for name, run in _commands.items():
        whole.command(name)(run)
    whole.callback()(_root)
    return whole


def _print_version(wanted: bool) -> None:
    """Answer ``--version`` before anything else is looked at."""
    if wanted:
        print(__version__)
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    """Train and run truly sparse neural networks."""
