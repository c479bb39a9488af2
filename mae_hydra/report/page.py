"""A page made of sections: everything is in the one file, nothing is fetched, light and dark, on a desk or a phone."""

import base64
import hashlib
import io
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape
from matplotlib.figure import Figure
from PIL import Image

from mae_hydra import atomic
from mae_hydra.figures import save, to_svgs, variables
from mae_hydra.figures.style import SERIES_COLOURS, colours_of
from mae_hydra.names import clean, file_part, harmless
from mae_hydra.owned import Owned
from mae_hydra.report.layers import split

POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; script-src {}"
)
Link = Callable[[Path], str | None]  # the address of the page of a run or a sweep, None where there is none
UNIT = ", %"
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
    pictures: int = field(default=0, init=False)  # so many, each with an address of its own in the page

    def add(self, title: str, *parts: Markup | str) -> None:
        """A section; strings are escaped and become paragraphs. Without parts there is none."""
        shown = [part for part in parts if part]
        if shown:
            body = Markup("\n").join(
                p if isinstance(p, Markup) else Markup("<p>{}</p>").format(clean(p)) for p in shown
            )
            anchor = "".join(letter if letter.isalnum() else "-" for letter in title.lower())
            self.sections.append(Section(anchor, title, body))

    def chart(self, figure: Figure, name: str, caption: str = "", *, legend: bool = True) -> Markup:
        """A plot in the colours of the page, its axes beside or below each other as the window allows.

        `name`.png and `name`.svg are written too. `legend`: whether it stands in the axes of the page as well.
        """
        save(figure, self._file(f"{name}.png"))
        save(figure, self._file(f"{name}.svg"))
        shown = Markup("").join(Markup(each) for each in to_svgs(figure, name=name, legend=legend))
        return _figure(Markup('<div class="charts">{}</div>').format(shown), caption)

    def picture(self, pixels: np.ndarray, name: str, caption: str = "", *, sheet: bool = True) -> Markup:
        """Pictures as wide as the page at most, whose colours stay; a click shows them at full size.

        `sheet`: the paper between them is that of the page.
        """
        save(pixels, self._file(f"{name}.png"))
        layers = split(pixels) if sheet else None
        self.pictures += 1
        image = Markup(
            '<a href="#full-{}" title="full size"><img alt="{}" width="{}" height="{}" src="{}"></a>'
        ).format(
            self.pictures,
            clean(caption or name.replace("_", " ")),
            *pixels.shape[1::-1],
            png(pixels if layers is None else layers[0]),
        )
        if layers is not None:
            image += Markup('<i style="mask-image: url({})"></i>').format(png(layers[1]))
        kind = "sheet" if sheet else "sheet white"
        shown = Markup('<div class="{0}" id="fit-{1}">{2}</div><a class="fit" href="#fit-{1}">fit to the page</a>')
        return _figure(shown.format(kind, self.pictures, image), caption, f"full-{self.pictures}")

    def beside(self, pixels: np.ndarray, strips: Sequence[Markup], name: str, caption: str) -> Markup:
        """What `strip` made of rows of pictures; as one figure they are written to `name`.png."""
        save(pixels, self._file(f"{name}.png"))
        return _figure(Markup("").join(strips), caption)

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
            title=_breakable(clean(title)),
            kind=kind,
            facts=[(_breakable(clean(name)), _breakable(clean(value))) for name, value in self.facts if value],
            sections=self.sections,
            made=time.strftime("%Y-%m-%d %H:%M:%S"),
            script=Markup(self.script),
            policy=POLICY.format(_source(self.script)),
            data=None if self.data is None else as_json(self.data),
            refresh=self.refresh,
            colours=variables(),
        )


def _breakable(text: str) -> Markup:
    """A text whose keys a narrow tile breaks behind a dot or an underscore, and not within a word."""
    return Markup("<wbr>").join(map(escape, re.split(r"(?<=[^\W\d][._])(?=[^\W\d])", text)))


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
    """Numbers stand right and rounded, Markup as it is; the row `marked` stands out. On a phone a row is a card.

    Columns that `in_percent` has named have two digits behind the point.
    """
    if not rows:
        return Markup("")
    names = [clean(column) for column in columns]
    head = Markup("").join(Markup('<th scope="col">{}</th>').format(name) for name in names)
    body = Markup("").join(
        Markup("<tr{}>{}</tr>").format(Markup(" class=best") if number == marked else "", _cells(names, row))
        for number, row in enumerate(rows)
    )
    return Markup('<table class="{}"><thead><tr>{}</tr></thead><tbody>{}</tbody></table>').format(
        "cards" if len(names) > 2 else "", head, body
    )


def _cells(names: Sequence[str], row: Sequence[Any]) -> Markup:
    return Markup("").join(
        Markup('<td class="{}" data-name="{}">{}</td>').format(
            _kind(value), name, f"{value:.2f}" if name.endswith(UNIT) and isinstance(value, float) else _cell(value)
        )
        for name, value in zip(names, row, strict=True)
    )


def in_percent(name: str, percent: bool = True) -> str:
    """The name of a column or an axis, with its unit where that is percent."""
    return f"{name}{UNIT}" if percent else name


def _cell(value: Any) -> Markup | str:
    return value if isinstance(value, Markup) else clean(shown(value))


def link_of(text: str, address: str | None) -> Markup:
    """Text that leads to `address`, where there is one."""
    shown = Markup("{}").format(clean(text))
    return shown if address is None else Markup('<a href="{}">{}</a>').format(address, shown)


def strip(pictures: Sequence[np.ndarray], names: Sequence[str], addresses: Sequence[str | None]) -> Markup:
    """Small pictures beside each other, as many as fit, each with its name, which leads to its address."""
    cells = [
        Markup('<figure><img alt="" src="{}"><figcaption>{}</figcaption></figure>').format(
            jpeg(pixels), link_of(name, address)
        )
        for pixels, name, address in zip(pictures, names, addresses, strict=True)
    ]
    return Markup('<div class="strip">{}</div>').format(Markup("").join(cells))


def legend(names: Mapping[str, str | None]) -> Markup:
    """Names in the colours of the curves, each leading to its address."""
    colours = colours_of(names)
    items = [
        Markup('<li><i style="background: var(--series-{})"></i>{}</li>').format(
            SERIES_COLOURS.index(colours[name]), link_of(name, address)
        )
        for name, address in names.items()
    ]
    return Markup('<ul class="legend">{}</ul>').format(Markup("").join(items))


def _kind(value: Any) -> str:
    if isinstance(value, Markup):
        return "text"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return "number"
    return "text" if len(shown(value)) <= LONG else "long"


def code(text: str, *, summary: str = "") -> Markup:
    """Text as it was typed; folded up under `summary` where that is given."""
    block = Markup("<pre>{}</pre>").format(harmless(text))
    return Markup("<details><summary>{}</summary>{}</details>").format(summary, block) if summary else block


def pairs(values: Mapping[str, Any]) -> Markup:
    """Names and values, two columns."""
    row = Markup('<tr><th scope="row">{}</th><td>{}</td></tr>').format
    rows = Markup("").join(row(clean(name), _cell(value)) for name, value in values.items())
    return Markup('<table class="pairs"><tbody>{}</tbody></table>').format(rows) if rows else Markup("")


def shown(value: Any) -> str:
    """Write a value for a table: four digits, true and false as YAML has them, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def sentence(text: str) -> str:
    """A remark of the console as a sentence of its own."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""


def duration(seconds: float | None) -> str:
    """Write seconds as `90 s`, `12 min` or `3.5 h`."""
    if seconds is None:
        return ""
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min" if minutes < 120 else f"{seconds / 3600:.1f} h"


def png(pixels: np.ndarray) -> str:
    """The address of pixels that stand in the page itself."""
    return _address(pixels, "png")


def jpeg(pixels: np.ndarray) -> str:
    """The same for small photographs, in a tenth of the bytes."""
    return _address(pixels, "jpeg", quality=85)


def _address(pixels: np.ndarray, form: str, **options: Any) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return f"data:image/{form};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _figure(shown: Markup, caption: str, anchor: str = "") -> Markup:
    text = Markup("<figcaption>{}</figcaption>").format(clean(caption)) if caption else ""
    start = Markup('<figure id="{}">').format(anchor) if anchor else Markup("<figure>")
    return Markup("{}{}{}</figure>").format(start, shown, text)
