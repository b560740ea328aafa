"""HTML by hand: every text is escaped where it becomes HTML, and the page may load nothing."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

GENERATOR = '<meta name="generator" content="gossamer">'  # what our pages are known by
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
STYLE = """
:root { color-scheme: light dark; --line: #8885; --soft: #8881; --accent: #2a9d74; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; margin: .5rem 0; } h2 { font-size: 1.25rem; margin: 2rem 0 .5rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { font-weight: 600; }
td { font-variant-numeric: tabular-nums; } tbody tr:hover { background: var(--soft); }
tr.differs td:first-child { border-left: 3px solid var(--accent); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr)); gap: 1rem; }
figure { margin: 0; padding: .5rem; border: 1px solid var(--line); border-radius: .5rem; }
figure svg { display: block; width: 100%; height: auto; max-width: 36rem; margin: 0 auto; }
figcaption, .note { font-size: .85rem; opacity: .8; }
details { margin: 1rem 0; } summary { cursor: pointer; font-weight: 600; font-size: 1.1rem; }
"""


def page(title: str, body: Iterable[str]) -> str:
    """A whole document.

    Args:
        title: str - plain text.
        body: HTML of its parts, made by the functions below.

    Returns:
        str - HTML that needs no script, no network and no other file.

    Example:
        >>> "<title>a &lt; b</title>" in page("a < b", [])
        True
    """
    head = (
        f'<meta charset="utf-8">{GENERATOR}<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">'
        f'<link rel="icon" href="data:,"><title>{escape(title)}</title><style>{STYLE}</style>'
    )
    parts = "\n".join(body)
    shown = f"<h1>{escape(title)}</h1>\n{parts}"
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>{shown}\n</body></html>\n'


def is_page(path: Path) -> bool:
    """Whether a file is a page of ours; O(1)."""
    with path.open("rb") as file:
        return GENERATOR.encode() in file.read(1000)


def section(title: str, *parts: str) -> str:
    """A heading and its parts.

    Example:
        >>> section("a&b")
        '<section><h2>a&amp;b</h2></section>'
    """
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def fold(title: str, *parts: str, unfolded: bool = True) -> str:
    """Parts that can be folded away."""
    return (
        f"<details{' open' if unfolded else ''}><summary>{escape(title)}</summary>{''.join(parts)}</details>"
    )


def note(text: str) -> str:
    """A remark."""
    return f'<p class="note">{escape(text)}</p>'


def figures(*drawn: tuple[str, str]) -> str:
    """Figures side by side where there is room.

    Args:
        drawn: (SVG element, caption) - captions are plain text.

    Returns:
        str - HTML.
    """
    shown = []
    for svg, caption in drawn:
        said = escape(caption)
        shown.append(f'<figure role="img" aria-label="{said}">{svg}<figcaption>{said}</figcaption></figure>')
    return f'<div class="figures">{"".join(shown)}</div>'


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], differing: Iterable[int] = ()) -> str:
    """A table that scrolls on its own where it is too wide.

    Args:
        columns: headings, plain text.
        rows: cells, plain text.
        differing: numbers of the rows to mark.

    Returns:
        str - HTML.

    Example:
        >>> "<td>&lt;b&gt;</td>" in table(["name"], [["<b>"]])
        True
    """
    marked = set(differing)
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    body = []
    for number, row in enumerate(rows):
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row)
        body.append(f'<tr class="differs">{cells}</tr>' if number in marked else f"<tr>{cells}</tr>")
    rows_html = "".join(body)
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows_html}</tbody></table></div>'
    )
