"""What all commands share: discovery, ``--json --quiet --debug``, plug-ins, and errors as sentences."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand
from typer.main import get_command

from gossamer import errors, plugins
from gossamer.cli.output import Output
from gossamer.registry import ZEROS, Registry, setting_meant
from gossamer.version import __version__

if TYPE_CHECKING:
    from gossamer.runs.options import Option

USAGE_ERRORS = (errors.ConfigError, errors.DensityError, errors.PatternError)
Command = Callable[..., None]


Flags = Callable[[], Sequence["Option"]]


class Entry(NamedTuple):
    """A command as Typer wants it."""

    run: Command
    cls: type[TyperCommand]


commands: Registry[Entry] = Registry("command", package="gossamer.cli.commands")
_COMMON = {
    "as_json": Annotated[
        bool, typer.Option("--json", help="Print JSON on stdout; progress stays on stderr.")
    ],
    "quiet": Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no remarks.")],
    "debug": Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")],
}
_PLAIN: dict[str, Any] = {"add_completion": False, "pretty_exceptions_enable": False}
_PLUGIN = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin", metavar="FILE", help="Python file with rules, patterns or data sets; repeatable."
    ),
]


def command(flags: Flags = tuple, *, plug_ins: bool = False) -> Callable[[Command], Command]:
    """Make a function a command of its own name, with ``--json``, ``--quiet`` and ``--debug``.

    Args:
        flags: () -> options that the function gets in one dict ``overrides``: setting -> value, of those given. Called
            when the command is, for what it imports.
        plug_ins: bool - takes ``--plugin FILE`` and finds what installed packages register; others load no plug-in.

    Returns:
        A decorator. The function's first parameter is the Output; the others are Typer parameters.

    Example:
        >>> @command()
        ... def hello(out: Output) -> None: out.result({"hello": "world"}, lambda: "hello world")
        >>> commands.remove("hello")
    """

    def decorate(function: Command) -> Command:
        def run(
            *, as_json: bool, quiet: bool, debug: bool, plugin: Iterable[Path] | None = None, **arguments: Any
        ) -> None:
            out = Output(as_json=as_json, quiet=quiet)
            unknown = {word: arguments.pop(word, None) for word in ZEROS}
            try:
                _refuse_zeros(unknown)
                with out.warnings(), nullcontext() if plug_ins else plugins.off():
                    for file in plugin or ():
                        plugins.load_file(file)
                    _with_packages(function, out, _grouped(flags(), arguments))
            except (errors.GossamerError, OSError) as error:
                if debug:
                    raise
                out.failed(error)
                raise typer.Exit(2 if isinstance(error, USAGE_ERRORS) else 1) from None

        def sign(options: Sequence[Option]) -> Command:
            parameters = _parameters(function, options, plug_ins=plug_ins)
            run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
            run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
            return run

        class Late(TyperCommand):
            """Gets its flags when it is called; a list of commands does not wait for them."""

            def make_context(self, *args: Any, **kwargs: Any) -> Any:
                return _alone(sign(flags())).make_context(*args, **kwargs)

        run.__name__, run.__doc__ = function.__name__, function.__doc__
        commands.add(function.__name__, Entry(sign(()), Late))
        return function

    return decorate


def _refuse_zeros(given: Mapping[str, float | None]) -> None:
    """Answer options that count the zeros with the one that counts connections; raises ConfigError."""
    for word, value in given.items():
        if value is not None:
            option = f"--{word.replace('_', '-')}"
            hint = setting_meant(word, value, ("density",))
            raise errors.ConfigError(option, expected="--density", got=f"{option} {value:g}", hint=hint)


def _alone(run: Command) -> Any:
    """A function as Typer's command."""
    single = typer.Typer(**_PLAIN)
    single.command(run.__name__)(run)
    return get_command(single)


def _grouped(flags: Sequence[Option], arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a command, those that are overrides of settings in one dict."""
    if not flags:
        return arguments
    given = {flag: arguments.pop(flag.name) for flag in flags}
    overrides = {flag.setting: flag.read(value) for flag, value in given.items() if value is not None}
    return {**arguments, "overrides": overrides}


def _with_packages(function: Command, out: Output, arguments: dict[str, Any]) -> None:
    """Call a command; a package that it needs and that is not there is an error of ours."""
    try:
        function(out, **arguments)
    except ModuleNotFoundError as error:
        if isinstance(error, errors.GossamerError):
            raise
        raise errors.MissingPackage.behind(error) from error


def _parameters(function: Command, flags: Sequence[Option], *, plug_ins: bool) -> list[inspect.Parameter]:
    """What Typer sees: the function's own parameters, the flags, what is answered only, and what all commands share."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    kept = [parameter.replace(kind=keyword) for parameter in own if parameter.name != "overrides"]
    options: dict[str, Any] = {
        flag.name: Annotated[flag.kind | None, typer.Option(help=flag.help)] for flag in flags
    }
    if "density" in {*options, *(parameter.name for parameter in kept)}:
        options |= dict.fromkeys(ZEROS, Annotated[float | None, typer.Option(hidden=True)])
    if plug_ins:
        options["plugin"] = _PLUGIN
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
    whole = typer.Typer(
        name="gossamer",
        help="Train and run truly sparse neural networks.",
        no_args_is_help=True,
        **_PLAIN,
    )
    for name in commands:
        entry = commands[name]
        whole.command(name, cls=entry.cls)(entry.run)
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
