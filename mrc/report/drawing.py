"""A matplotlib figure as inline SVG that is at home in a page: in its colours, its fonts and its dark mode.

matplotlib writes fixed colours and whole documents. So a figure is drawn in stand-ins, one for each of the page's
colours, which become CSS variables in the SVG; what matters only in a file of its own (metadata, sizes, style sheets
that would hold for the whole page, ids that nothing refers to) is taken out. Texts of the user are drawn as a stand-in,
too, and put in at the end: matplotlib need not have their glyphs or read formulas into them, and the browser draws them
in fonts that it has. The price is that matplotlib does not know how wide they are: `fit` estimates that.
"""

import io
import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal
from xml.etree import ElementTree

import matplotlib.style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH = 460
"""Of every chart, in units that are pixels where the page is as wide as a column; the page scales all charts alike, so
that their texts stay of one size, which a phone can still show."""

COLOURS = {
    name: f"#fe{number:02x}ef"
    for number, name in enumerate(("ink", "muted", "line", "ground", "f1", "f1-soft", "em", "bar", "good", "bad"))
}
"""The page's colours, as CSS variables without their dashes, to their stand-ins in a figure."""

_FONT_SIZE = 11.5

_STYLE = {
    "font.size": _FONT_SIZE,
    "text.color": COLOURS["ink"],
    "text.parse_math": False,
    "axes.facecolor": "none",
    "axes.edgecolor": COLOURS["line"],
    "axes.linewidth": 1,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": COLOURS["line"],
    "grid.linewidth": 1,
    "xtick.color": COLOURS["line"],
    "ytick.color": COLOURS["line"],
    "xtick.labelcolor": COLOURS["muted"],
    "ytick.labelcolor": COLOURS["muted"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.major.pad": 6,
    "ytick.major.pad": 6,
    "svg.fonttype": "none",
    "svg.hashsalt": "mrc",
}

_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"


@contextmanager
def house_style() -> Iterator[None]:
    """Draw by this module's style, whatever matplotlib's settings are outside."""
    with matplotlib.style.context(["default", _STYLE]):
        yield


class Chart:
    """A figure that is being drawn: call it, and everything that draws on its axes, within `house_style`."""

    def __init__(self, name: str, height: float) -> None:
        """Begin an empty figure.

        Args:
            name: Part of the ids in the SVG, so of its own among the charts of a page.
            height: In the units of `WIDTH`.
        """
        self.name = name
        self.height = height
        self.figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72, facecolor="none")
        self._texts: dict[str, str] = {}
        self._tips: dict[str, str] = {}

    def axes(self, *, left: float, top: float, right: float, bottom: float) -> Axes:
        """Add axes with these margins from the edges of the figure."""
        width, height = WIDTH - left - right, self.height - top - bottom
        return self.figure.add_axes((left / WIDTH, bottom / self.height, width / WIDTH, height / self.height))

    def write(
        self,
        x: float,
        y: float,
        text: str,
        *,
        colour: str = "muted",
        align: Literal["left", "center", "right"] = "left",
        bold: bool = False,
    ) -> None:
        """Write any text at a place in pixels from the top left corner, vertically centred on y."""
        key = f"text-{len(self._texts)}"
        self._texts[key] = text
        # A digit's height is 0.73 of the font's size, of which half goes below the middle.
        baseline = 1 - (y + 0.36 * _FONT_SIZE) / self.height
        weight = "bold" if bold else "normal"
        self.figure.text(
            x / WIDTH, baseline, "x", color=COLOURS[colour], ha=align, va="baseline", weight=weight, gid=key
        )

    def tip(self, artist: Artist, text: str) -> None:
        """Show a text where the pointer rests on something drawn."""
        key = f"tip-{len(self._tips)}"
        self._tips[key] = text
        artist.set_gid(key)

    def svg(self, title: str, description: str) -> str:
        """Return the figure as an `svg` element, named and described for those who do not see it."""
        file = io.StringIO()
        self.figure.savefig(file, format="svg")
        root = ElementTree.fromstring(file.getvalue())
        for parent in list(root.iter()):
            for child in list(parent):
                if child.tag == f"{_SVG}metadata" or child.find(f"{_SVG}style") is not None:
                    parent.remove(child)
        used = set(re.findall(r"#([\w.-]+)", " ".join(value for node in root.iter() for value in node.attrib.values())))
        for node in list(root.iter()):
            self._adopt(node, used)
        names = {"title": (f"{self.name}-title", title), "desc": (f"{self.name}-description", description)}
        for tag, (key, text) in reversed(names.items()):
            _insert(root, tag, text, id=key)
        root.attrib = {
            "viewBox": root.attrib["viewBox"],
            "role": "img",
            "aria-labelledby": names["title"][0],
            "aria-describedby": names["desc"][0],
        }
        return ElementTree.tostring(root, encoding="unicode")

    def _adopt(self, node: ElementTree.Element, used: set[str]) -> None:
        """Make one element of the SVG one of the page's."""
        key = node.attrib.get("id", "")
        if key in self._texts:
            for text in node.iter(f"{_SVG}text"):
                text.text = self._texts[key]
        if key in self._tips:
            _insert(node, "title", self._tips[key])
        node.tag = node.tag.removeprefix(_SVG)
        node.tail = None
        if node.tag != "text" and node.text and not node.text.strip():
            node.text = None
        attributes = {name.replace(_HREF, "href"): value for name, value in node.attrib.items()}
        if key not in used:
            attributes.pop("id", None)
        # Charts alike have parts of one id, which is made of what is drawn.
        for name, before in (("id", ""), ("href", "#"), ("clip-path", "url(#")):
            if name in attributes:
                attributes[name] = f"{before}{self.name}-{attributes[name].removeprefix(before)}"
        if node.tag == "text":
            attributes.pop("transform", None)
        if "d" in attributes:
            attributes["d"] = re.sub(r"(\.\d\d)\d+", r"\1", " ".join(attributes["d"].split()))
        if "style" in attributes:
            attributes["style"] = _page_style(attributes["style"])
        node.attrib = {name: value for name, value in attributes.items() if value}


def fit(text: str, width: int) -> str:
    """Return a text on one line that is at most about `width` Latin letters wide, cut with an ellipsis.

    Letters that are as wide as high, as in Korean, count nearly twice; those laid over others not at all.
    """
    line = " ".join(text.split())
    widths = [_width(letter) for letter in line]
    if sum(widths) <= width:
        return line
    kept = 0
    while sum(widths[: kept + 1]) < width:
        kept += 1
    return line[:kept].rstrip() + "…"


def text_width(text: str) -> float:
    """Return about how many Latin letters a text is wide."""
    return sum(map(_width, text))


def _width(letter: str) -> float:
    if unicodedata.combining(letter) or unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return 0
    return 1.8 if unicodedata.east_asian_width(letter) in "WF" else 1


def _insert(parent: ElementTree.Element, tag: str, text: str, **attributes: Any) -> None:
    element = ElementTree.Element(tag, attributes)
    element.text = text
    parent.insert(0, element)


def _page_style(style: str) -> str:
    """Return the declarations of a style with the page's colours, and without its fonts, which are the page's."""
    declarations = [
        declaration for declaration in style.split("; ") if not re.match(r"font-(size|family)", declaration)
    ]
    out = "; ".join(declarations)
    for name, stand_in in COLOURS.items():
        out = out.replace(stand_in, f"var(--{name})")
    return out
