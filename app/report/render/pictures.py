"""Embeds pictures in the page: attachments and files beside the notebook, bounded in size."""

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

PICTURE_ROOM = 8_000_000  # bytes of pictures on the page
ONE_PICTURE = 2_000_000  # bytes of one picture
SIGNATURES = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
    (re.compile(rb"....ftypavif", re.DOTALL), "image/avif"),
    (
        re.compile(
            rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*(?:<!DOCTYPE[^>]*>\s*)?<svg\b", re.DOTALL
        ),
        "image/svg+xml",
    ),
)
ELSEWHERE = re.compile(r"\A(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)


class PictureLeftOutError(ValueError):
    """A picture that the page does not show; the message says why."""


class Pictures:
    """Finds the pictures of notebooks, and counts the room that is left for them on the page.

    `folder` holds the notebooks; `attachments` are those of the cell that is being rendered.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.attachments: Mapping[str, Mapping[str, str]] = {}
        self.room = PICTURE_ROOM

    def data_url(self, source: str) -> str:
        """Return the picture at `source` as a data: URL, or raise PictureLeftOutError."""
        if source.startswith("data:image/"):
            return self.keep_in_bounds(source, source, len(source) * 3 // 4)
        if source.startswith("attachment:"):
            return self.attached(unquote(source.removeprefix("attachment:")))
        if ELSEWHERE.match(source):
            raise PictureLeftOutError(f"{shorten(source)} is on another server, and this page makes no request")
        return self.file(unquote(source))

    def attached(self, name: str) -> str:
        """Return an attachment of the cell."""
        for kind, data in self.attachments.get(name, {}).items():
            if kind.startswith("image/"):
                data = re.sub(r"[^A-Za-z0-9+/=]", "", data)
                return self.keep_in_bounds(name, f"data:{kind};base64,{data}", len(data) * 3 // 4)
        raise PictureLeftOutError(f"{shorten(name)} is not attached to its cell")

    def file(self, name: str) -> str:
        """Return a picture file in the notebook's folder."""
        if self.folder is None:
            raise PictureLeftOutError(f"{shorten(name)} is a file, and this page has no folder to look in")
        folder = self.folder.resolve()
        try:
            path = (folder / name).resolve()
            if not path.is_relative_to(folder):
                raise PictureLeftOutError(
                    f"{shorten(name)} is outside the notebook's folder: put it beside the notebook"
                )
            size = path.stat().st_size
            self.keep_in_bounds(name, "", size)
            content = path.read_bytes()
        except (OSError, ValueError) as error:
            if isinstance(error, PictureLeftOutError):
                raise
            raise PictureLeftOutError(f"{shorten(name)} was not found beside the notebook") from None
        kind = next((kind for pattern, kind in SIGNATURES if pattern.match(content)), None)
        if kind is None:
            raise PictureLeftOutError(f"{shorten(name)} is no PNG, JPEG, GIF, WebP, AVIF or SVG file")
        self.room -= len(content)
        return f"data:{kind};base64,{base64.b64encode(content).decode()}"

    def keep_in_bounds(self, name: str, url: str, size: int) -> str:
        """Return `url` when a picture of `size` bytes has room on the page, and take that room."""
        if size > ONE_PICTURE:
            raise PictureLeftOutError(
                f"{shorten(name)} has {size / 1e6:.1f} MB, more than {ONE_PICTURE / 1e6:.0f} MB: make it smaller"
            )
        if size > self.room:
            raise PictureLeftOutError(f"{shorten(name)}: the page has {PICTURE_ROOM / 1e6:.0f} MB of pictures already")
        if url:
            self.room -= size
        return url


def shorten(name: str) -> str:
    """Return a picture's name, bounded in length."""
    return name if len(name) <= 80 else f"{name[:60]}…{name[-15:]}"
