"""Docstrings in this project's style, made readable for the reference: a griffe extension.

Args and Example become the sections that griffe knows; Returns, Raises, Cost and Source become paragraphs.
"""
# ruff: noqa: INP001 (loaded by path)

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

SECTION = re.compile(r"^(Args|Returns|Raises|Cost|Source|Example):[ \t]*(.*)$", re.MULTILINE)
SEVERAL = re.compile(r"^(\s+)([\w*]+(?:, [\w*]+)+): ", re.MULTILINE)
TYPE = re.compile(r"^(\s+[\w*]+(?:, [\w*]+)*: )[A-Za-z_.]+(?: or [A-Za-z_.]+)* - ", re.MULTILINE)


def translate(text: str) -> str:
    """One docstring."""
    parts = SECTION.split(text)
    out = [parts[0].rstrip()]
    for title, first, rest in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        body = rest.strip("\n").rstrip()
        if title == "Args":
            named = TYPE.sub(r"\1", body)  # the signature says the type already
            out.append(f"Args:\n{SEVERAL.sub(_separate, named)}")
        elif title == "Example":
            out.append(f"Examples:\n{body}")
        else:
            said = " ".join([first, *(line.strip() for line in body.splitlines())]).strip()
            out.append(f"**{title}**: {said}")
    return "\n\n".join(part for part in out if part)


def _separate(match: re.Match[str]) -> str:
    """``a, b: text`` documents both; griffe wants one name."""
    return f"{match[1]}{match[2].split(', ')[0]}: *({match[2]})* "


class House(Extension):
    """Rewrites docstrings as they are loaded."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Translate what has a docstring; aliases point at objects that were translated already."""
        if not obj.is_alias and obj.docstring is not None:
            obj.docstring.value = translate(obj.docstring.value)
