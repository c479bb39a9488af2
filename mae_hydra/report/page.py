"""A page made of sections: everything is in the one file, nothing is fetched, light and dark, on a desk or a phone."""

import base64
import hashlib
import html
import io
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from mae_hydra import atomic
from mae_hydra.figures import save, to_pixels
from mae_hydra.names import clean, file_part, harmless
from mae_hydra.owned import Owned

POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; script-src {}"
)
LONG = 40  # letters of a table's cell, from which on it is broken into lines


@dataclass(frozen=True)
class Section:
    """A part of a page, to which `anchor` leads."""

    anchor: str
    title: str
    body: Markup


@dataclass
class Page:
    """Sections in the order in which they are added; figures are put into the page and beside it, as PNG and SVG.

    `owned`: the folder, and what earlier pages have written to it. `script`: of ours, the only one that a browser runs
    there; `data`: what it reads. `refresh`: seconds after which it asks for the page again.
    """

    owned: Owned
    sections: list[Section] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    script: str = ""
    data: Mapping[str, Any] | None = None
    refresh: int | None = None

    def add(self, title: str, *parts: Markup | str) -> None:
        """A section; strings are escaped and become paragraphs. Without parts there is none."""
        shown = [part for part in parts if part]
        if shown:
            body = Markup("\n").join(
                p if isinstance(p, Markup) else Markup("<p>{}</p>").format(clean(p)) for p in shown
            )
            anchor = "".join(letter if letter.isalnum() else "-" for letter in title.lower())
            self.sections.append(Section(anchor, title, body))

    def chart(self, figure: Figure, name: str, caption: str = "") -> Markup:
        """A plot, which dark pages turn dark; `name`.png and `name`.svg are written too."""
        save(figure, self._file(f"{name}.png"))
        save(figure, self._file(f"{name}.svg"))
        return _figure(to_pixels(figure), caption, "chart", 2)

    def picture(self, pixels: np.ndarray, name: str, caption: str = "") -> Markup:
        """Pictures, whose colours stay."""
        save(pixels, self._file(f"{name}.png"))
        return _figure(pixels, caption, "picture", 1)

    def _file(self, name: str) -> Path:
        return self.owned.claim(self.owned.folder / file_part(name))

    def write(self, *, title: str, kind: str) -> Path:
        path = self._file("index.html")
        atomic.write_text(path, self.rendered(title=title, kind=kind))
        return path

    def rendered(self, *, title: str, kind: str) -> str:
        """The whole page."""
        environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        template = resources.files("mae_hydra.report").joinpath("page.html").read_text(encoding="utf-8")
        return environment.from_string(template).render(
            title=clean(title),
            kind=kind,
            facts=[(clean(name), clean(value)) for name, value in self.facts],
            sections=self.sections,
            made=time.strftime("%Y-%m-%d %H:%M:%S"),
            script=Markup(self.script),
            policy=POLICY.format(_source(self.script)),
            data=None if self.data is None else as_json(self.data),
            refresh=self.refresh,
        )


def as_json(content: Mapping[str, Any]) -> Markup:
    """JSON that may stand in a page: nothing in it can end the element that it stands in."""
    text = json.dumps(content, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _source(script: str) -> str:
    """What a browser may run: a script with this digest, whatever else has found its way into a page."""
    if not script:
        return "'none'"
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, marked: int | None = None) -> Markup:
    """Numbers stand right and rounded; the row `marked` stands out."""
    if not rows:
        return Markup("")
    head = "".join(f"<th>{html.escape(clean(column))}</th>" for column in columns)
    body = []
    for number, row in enumerate(rows):
        cells = "".join(f'<td class="{_kind(value)}">{html.escape(clean(shown(value)))}</td>' for value in row)
        body.append(f"<tr{' class=best' if number == marked else ''}>{cells}</tr>")
    return Markup(
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'
    )


def _kind(value: Any) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return "number"
    return "text" if len(shown(value)) <= LONG else "long"


def code(text: str, *, summary: str = "") -> Markup:
    """Text as it was typed; folded up under `summary` where that is given."""
    block = Markup("<pre>{}</pre>").format(harmless(text))
    return Markup("<details><summary>{}</summary>{}</details>").format(summary, block) if summary else block


def pairs(values: Mapping[str, Any]) -> Markup:
    """Names and values, two columns."""
    return table(("", ""), [(name, value) for name, value in values.items()])


def shown(value: Any) -> str:
    """Write a value for a table: four digits, true and false as YAML has them, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def duration(seconds: float | None) -> str:
    """Write seconds as `90 s`, `12 min` or `3.5 h`."""
    if seconds is None:
        return ""
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min" if minutes < 120 else f"{seconds / 3600:.1f} h"


def _figure(pixels: np.ndarray, caption: str, kind: str, density: int) -> Markup:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    encoded = base64.b64encode(buffer.getvalue()).decode()
    image = (
        f'<img class="{kind}" alt="{html.escape(clean(caption))}" width="{pixels.shape[1] // density}" '
        f'src="data:image/png;base64,{encoded}">'
    )
    text = f"<figcaption>{html.escape(clean(caption))}</figcaption>" if caption else ""
    return Markup(f'<figure><div class="wide">{image}</div>{text}</figure>')
