"""A handful of SVG shapes on white paper: what the pictures of the documentation are made of."""
# ruff: noqa: INP001 (used by scripts)

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape

INK, SOFT, LINE, PAPER = "#1f2933", "#66727f", "#c9d0d8", "#ffffff"
KEPT, GROWN, DROPPED, PALE = "#1c7293", "#2b8a3e", "#d9480f", "#eef2f5"


@dataclass
class Drawing:
    """A handful of SVG shapes on white paper."""

    width: int
    height: int
    title: str
    parts: list[str] = field(default_factory=list)

    def cell(self, x: float, y: float, size: float, fill: str, label: str = "") -> None:
        """A square with a small text in it."""
        shape = f'x="{x:g}" y="{y:g}" width="{size:g}" height="{size:g}"'
        self.parts.append(f'<rect {shape} fill="{fill}" stroke="{LINE}"/>')
        if label:
            colour = PAPER if fill in {KEPT, GROWN, DROPPED} else INK
            font = 11 if size > 20 else 9
            self.text(x + size / 2, y + size / 2 + font / 3, label, colour, "middle", font)

    def box(
        self, x: float, y: float, width: float, height: float, stroke: str = INK, fill: str = "none"
    ) -> None:
        """A rectangle."""
        shape = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="3"'
        self.parts.append(f'<rect {shape} fill="{fill}" stroke="{stroke}" stroke-width="1.6"/>')

    def text(
        self, x: float, y: float, text: str, fill: str = INK, anchor: str = "start", size: int = 13
    ) -> None:
        """One line of text."""
        place = f'x="{x:g}" y="{y:g}" text-anchor="{anchor}"'
        self.parts.append(f'<text {place} fill="{fill}" font-size="{size}">{escape(text)}</text>')

    def heading(self, x: float, y: float, text: str) -> None:
        """One line of bold text."""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" fill="{INK}" font-size="14" font-weight="600">{escape(text)}</text>'
        )

    def arrow(self, x1: float, y1: float, x2: float, y2: float) -> None:
        """A straight arrow."""
        line = f'd="M{x1:g} {y1:g} L{x2:g} {y2:g}"'
        self.parts.append(
            f'<path {line} stroke="{SOFT}" stroke-width="1.4" fill="none" marker-end="url(#tip)"/>'
        )

    def bar(self, x: float, y: float, width: float, height: float, fill: str) -> None:
        """A filled rectangle."""
        shape = f'x="{x:g}" y="{y:g}" width="{width:.1f}" height="{height:g}"'
        self.parts.append(f'<rect {shape} fill="{fill}"/>')

    def line(self, points: list[tuple[float, float]], stroke: str) -> None:
        """Straight pieces through points."""
        path = " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        self.parts.append(f'<path d="M{path}" stroke="{stroke}" stroke-width="2" fill="none"/>')

    def rule(self, x: float, y1: float, y2: float) -> None:
        """A dashed vertical line."""
        line = f'd="M{x:.1f} {y1:g} L{x:.1f} {y2:g}"'
        self.parts.append(f'<path {line} stroke="{INK}" stroke-dasharray="3 3"/>')

    def heat(self, x: float, y: float, size: float, counts: list[list[int]], top: int) -> None:
        """Cells from light to dark in nine steps; one path a step keeps the file small."""
        steps: dict[int, list[str]] = {}
        for r, row in enumerate(counts):
            for c, count in enumerate(row):
                corner = f"M{x + c * size:g} {y + r * size:g}"
                steps.setdefault(round(8 * count / top), []).append(f"{corner}h{size:g}v{size:g}h-{size:g}z")
        for step, cells in sorted(steps.items()):
            light = [
                238 - (238 - 28) * step // 8,
                242 - (242 - 60) * step // 8,
                245 - (245 - 110) * step // 8,
            ]
            self.parts.append(f'<path fill="#{bytes(light).hex()}" d="{"".join(cells)}"/>')

    def __str__(self) -> str:
        size = f'viewBox="0 0 {self.width} {self.height}" width="{self.width}" height="{self.height}"'
        named = f'role="img" aria-label="{escape(self.title)}"'
        marker = 'id="tip" markerWidth="6" markerHeight="6" refX="5" refY="3" orient="auto"'
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="system-ui, sans-serif" {named}>',
            f"<title>{escape(self.title)}</title>",
            f'<defs><marker {marker}><path d="M0 0 L6 3 L0 6 z" fill="{SOFT}"/></marker></defs>',
            f'<rect width="{self.width}" height="{self.height}" rx="6" fill="{PAPER}"/>',
            *self.parts,
            "</svg>",
        ]
        return "\n".join(lines) + "\n"


Cells = list[list[str]]


def matrix(
    drawing: Drawing, x: float, y: float, size: float, colours: Cells, labels: Cells | None = None
) -> None:
    """A grid of cells."""
    for r, row in enumerate(colours):
        for c, colour in enumerate(row):
            drawing.cell(x + c * size, y + r * size, size, colour, labels[r][c] if labels else "")
