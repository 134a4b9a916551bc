"""Prints the page as a PDF with Chromium or Chrome, where one is installed."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from streaming_lab.errors import LabError

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
MAC_BROWSER = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
PRINT_TIMEOUT = 120.0  # seconds for one page
PAPERS = ("A4", "Letter")


def find_browser() -> str:
    """Return the browser that prints, or raise: the report itself needs none."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None) or (str(MAC_BROWSER) if MAC_BROWSER.exists() else "")
    if not found:
        cure = "install one (apt-get install chromium), or leave --pdf out and print the page from a browser"
        raise LabError("--pdf needs Chromium or Chrome, and none was found on the PATH", cure)
    return found


def print_page(page: Path, target: Path, paper: str = "A4") -> None:
    """Print `page` to `target` on A4 or Letter; waits two minutes at most, and raises LabError when no PDF was made."""
    browser = find_browser()
    with tempfile.TemporaryDirectory(prefix="lab-print-") as folder:
        copy, made = Path(folder) / "report.html", Path(folder) / "report.pdf"
        size = f"<style>@page {{ size: {paper}; }}</style></head>"
        copy.write_text(page.read_text(encoding="utf-8").replace("</head>", size, 1), encoding="utf-8")
        options = ["--headless", "--disable-gpu", "--no-pdf-header-footer", f"--user-data-dir={folder}/profile"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            options.append("--no-sandbox")  # Chromium's sandbox refuses to work for root
        command = [browser, *options, f"--print-to-pdf={made}", copy.as_uri()]
        try:
            done = subprocess.run(command, capture_output=True, timeout=PRINT_TIMEOUT, check=False, cwd=folder)
            said = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        except subprocess.TimeoutExpired:
            said = [f"no answer within {PRINT_TIMEOUT:g} s"]
        except OSError as error:
            said = [str(error)]
        if not made.exists():
            problem = f"{browser} printed nothing{f' ({said[0]})' if said else ''}"
            raise LabError(problem, f"print {page} from a browser instead")
        shutil.copyfile(made, target)
