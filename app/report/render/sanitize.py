"""Reduces HTML, SVG and MathML to an allow-list: markup that displays, without scripts, handlers or requests."""

import html
import re
import secrets
from collections.abc import Callable
from html.parser import HTMLParser

import nh3

from streaming_lab.report.render.pictures import PictureLeftOutError

SVG = """
svg g path text tspan rect circle ellipse line polyline polygon defs clipPath linearGradient radialGradient stop title
desc marker mask pattern use image
"""
MATHML = """
math mrow mi mn mo ms mtext mspace msqrt mroot mfrac msub msup msubsup munder mover munderover mtable mtr mtd mstyle
mpadded mphantom menclose mmultiscripts mprescripts none merror
"""
HTML = "figure figcaption section small details summary"
EVERYWHERE = "class id role tabindex title lang dir style scope colspan rowspan open"
SHAPES = """
viewBox width height x y x1 x2 y1 y2 cx cy r rx ry d points dx dy transform preserveAspectRatio offset fill fill-opacity
fill-rule stroke stroke-width stroke-opacity stroke-dasharray stroke-dashoffset stroke-linecap stroke-linejoin
stroke-miterlimit opacity clip-path clip-rule clipPathUnits gradientUnits gradientTransform stop-color stop-opacity
text-anchor dominant-baseline font-family font-size font-weight font-style letter-spacing paint-order vector-effect
"""
FORMULAS = """
display displaystyle scriptlevel mathvariant mathcolor mathbackground mathsize stretchy fence form separator lspace
rspace accent accentunder linethickness columnalign rowspacing columnspacing columnlines rowlines notation minsize
maxsize largeop movablelimits symmetric depth voffset
"""
STYLES = """
width min-width max-width height text-align vertical-align white-space color background-color font-weight font-style
font-size text-decoration background fill fill-opacity stroke stroke-width stroke-opacity stroke-dasharray
stroke-linecap stroke-linejoin stroke-miterlimit opacity text-anchor display overflow-wrap paint-order
border border-color border-width border-style border-top border-bottom border-left border-right padding
"""
DROPPED_WITH_CONTENT = """
script style noscript template button select textarea datalist iframe frameset object embed applet video audio canvas
"""
PICTURE = r'<img(?:\s[\w-]+="[^"]*")*?\ssrc="data:,TOKEN-(\d+)"(?:\s[\w-]+="[^"]*")*\s?/?>'
NO_PICTURE = re.compile(r"<img(?![^>]*\ssrc=)[^>]*>")
OWN_ANCHOR = re.compile(r"url\([\"']?#[\w-]+[\"']?\)")
RASTER = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]+")
SHAPE_ID = re.compile(r'<(?:path|circle|rect|ellipse|line|polyline|polygon)(?=\s)[^>]*?\sid="([\w-]+)"')
USE = re.compile(r'<use(?=\s)[^>]*?\s(?:xlink:)?href="#([^"]*)"[^>]*></use>|<use[^>]*></use>')
CSS_FUNCTION = re.compile(r"([\w-]*)\s*\(")
SAFE_FUNCTIONS = {
    *("rgb", "rgba", "hsl", "hsla", "var", "light-dark", "calc", "linear-gradient"),
    *("translate", "rotate", "scale", "matrix", "skewx", "skewy"),
}
INERT = {"alt", "title", "href", "class", "lang"}  # attributes that no style reads

# Tags that the page leaves out and names: a reader should know that something is missing.
NAMED = {
    "script": "a script",
    **dict.fromkeys(("iframe", "frame", "frameset", "object", "embed", "applet"), "a frame with another page"),
    **dict.fromkeys(("form", "input", "button", "select", "textarea"), "a form"),
    **dict.fromkeys(("audio", "video"), "sound or video"),
    "canvas": "a canvas",
    "link": "a style sheet from elsewhere",
    **dict.fromkeys(("animate", "animatetransform", "animatemotion", "set"), "an animation"),
    "foreignobject": "HTML within a drawing",
}

MAY_BE_NAMED = re.compile(rf"<(?:{'|'.join(NAMED)})\b", re.IGNORECASE)

PictureSource = Callable[[str], str]


class Sanitizer:
    """Sanitizes markup; `picture` turns the source of an image into a data: URL or raises PictureLeftOutError."""

    def __init__(self, picture: PictureSource | None = None) -> None:
        self.picture = picture
        self.notes: list[str] = []
        self.token = secrets.token_hex(8)  # nobody outside can write a note's place
        self.cleaner = nh3.Cleaner(
            tags=(nh3.ALLOWED_TAGS | {*SVG.split(), *MATHML.split(), *HTML.split()}) - {"map", "area"},
            clean_content_tags=set(DROPPED_WITH_CONTENT.split()),
            attributes={
                "*": {*EVERYWHERE.split(), *SHAPES.split(), *FORMULAS.split()},
                **{"a": {"href"}, "use": {"href"}, "image": {"href"}, "img": {"src", "alt"}, "ol": {"start"}},
            },
            generic_attribute_prefixes={"data-", "aria-"},
            url_schemes={"http", "https", "mailto", "data", "attachment"},
            attribute_filter=self.allowed_value,
            filter_style_properties=set(STYLES.split()),
            link_rel=None,
            strip_comments=True,
        )

    def clean(self, markup: str) -> str:
        """Reduce `markup` to the allow-list and balance its tags; a picture that is not shown leaves a line."""
        self.notes.clear()
        cleaned = NO_PICTURE.sub("", self.cleaner.clean(markup))
        cleaned = re.sub(PICTURE.replace("TOKEN", self.token), self.note_picture, cleaned)
        shapes = set(SHAPE_ID.findall(cleaned)) if "<use" in cleaned else set()
        return USE.sub(lambda found: found[0] if found[1] in shapes else "", cleaned) if "<use" in cleaned else cleaned

    def allowed_value(self, tag: str, name: str, value: str) -> str | None:
        """Return an attribute's value, or None where it would make a request: links need a click, images are data."""
        if tag == "img" and name == "src":
            return self.embedded(value)
        if tag == "use":
            return value if name != "href" or re.fullmatch(r"#[\w-]+", value) else None
        if tag == "image" and name == "href":
            return value if RASTER.fullmatch(value) else None
        if name == "href" and value.lstrip().lower().startswith(("data:", "attachment:")):
            return None
        inert = name in INERT or name.startswith(("aria-", "data-"))
        return value if inert or is_plain_style(value) else None

    def embedded(self, source: str) -> str | None:
        """Return an image's source as a data: URL, or the place of the line that says why it is not shown."""
        if self.picture is None:
            return source if source.startswith("data:image/") else None
        try:
            return self.picture(source)
        except PictureLeftOutError as error:
            self.notes.append(f"picture left out: {error}")
            return f"data:,{self.token}-{len(self.notes) - 1}"

    def note_picture(self, found: re.Match[str]) -> str:
        """Return the line that stands in a picture's place."""
        return f'<span class="left">{html.escape(self.notes[int(found[1])])}</span>'


def is_plain_style(value: str) -> bool:
    """Tell whether a value calls only CSS functions that fetch nothing; a backslash could disguise any other."""
    if OWN_ANCHOR.fullmatch(value):
        return True
    return "\\" not in value and {name.lower() for name in CSS_FUNCTION.findall(value)} <= SAFE_FUNCTIONS


SANITIZER = Sanitizer()


def sanitize(markup: str) -> str:
    """Reduce `markup` to the allow-list and balance its tags; of pictures only embedded ones are left."""
    return SANITIZER.clean(markup)


class LeftOut(HTMLParser):
    """Collects what the sanitizer takes out of markup and a reader would miss."""

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, None] = {}

    def handle_starttag(self, tag: str, attrs: object) -> None:
        """Note one tag."""
        if tag in NAMED:
            self.names[NAMED[tag]] = None


def find_left_out(markup: str) -> list[str]:
    """Return, in words and in order, what the sanitizer takes out of `markup`."""
    if not MAY_BE_NAMED.search(markup):  # parsing in Python is slow
        return []
    parser = LeftOut()
    parser.feed(markup)
    parser.close()
    return list(parser.names)


STYLE_SHEET = re.compile(r"<style\b[^>]*>(.*?)</style>", re.DOTALL | re.IGNORECASE)
STYLE_RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")
STYLED_ID = re.compile(r"#(T_\w+)")


def inline_styles(markup: str) -> str:
    """Move the rules of pandas' Styler, which name cells by their ids, from its style sheet into the cells."""
    rules: dict[str, str] = {}
    for sheet in STYLE_SHEET.findall(markup):
        for selectors, declarations in STYLE_RULE.findall(sheet):
            for selector in selectors.split(","):
                if found := STYLED_ID.fullmatch(selector.strip()):
                    rules[found[1]] = rules.get(found[1], "") + " ".join(declarations.split()) + ";"
    if not rules:
        return markup

    def styled(found: re.Match[str]) -> str:
        rule = rules.get(found[1])
        return f'{found[0]} style="{html.escape(rule)}"' if rule else found[0]

    return re.sub(r'(?<=\s)id="(T_\w+)"', styled, markup)
