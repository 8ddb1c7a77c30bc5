"""Make the pictures of the documentation that show pages as a browser shows them.

    python -m benchmarks.screenshots     (needs Chromium and the extra docs)

Written to docs/assets: the first page of the built documentation, and the report of a policy that
a search found for photographs of hands, on a desktop and on a phone.
"""

import base64
import io
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from benchmarks.record import RESULTS, ROOT
from learned_augment._io import write_atomically
from learned_augment.reporting.html import write_report
from tests.reporting.browser import CHROMIUM, Browser, open_browser

ASSETS = ROOT / "docs" / "assets"
POLICY = RESULTS / "found-screening-sign_digits.safetensors"
PICTURES = (
    ("docs-page", "site/index.html", 1280, 900),
    ("report-desktop", "report.html", 1280, 1000),
    ("report-phone", "report.html", 390, 1000),
)
"""Name of the picture, page, width and height of what it shows, in pixels."""
COLORS = 256


def build(folder: Path) -> None:
    """Write the pages that are shown into a folder."""
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", folder / "site"]
    subprocess.run(command, cwd=ROOT, check=True)
    write_report(POLICY, folder / "report.html")


def picture(browser: Browser, page: Path, width: int, height: int) -> bytes:
    """Return the top of a page as a small PNG."""
    browser.open(page.as_uri(), width)
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    shot = browser.send("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
    seen = Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")
    buffer = io.BytesIO()
    seen.quantize(COLORS, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def main() -> None:
    """Write every picture."""
    if CHROMIUM is None:
        sys.exit("Needs Chromium (Debian: apt-get install chromium).")
    with tempfile.TemporaryDirectory() as name, open_browser() as browser:
        build(Path(name))
        for called, page, width, height in PICTURES:
            png = picture(browser, Path(name) / page, width, height)
            print(write_atomically(ASSETS / f"{called}.png", png), f"{len(png) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
