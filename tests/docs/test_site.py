"""The site as it is built: complete, and silent on the network."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest

ROOT = Path(__file__).parents[2]
LOADED = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src"}
"""Elements for which a browser fetches something by itself, and the attribute that says what."""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    folder = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, env=environment)
    assert built.returncode == 0, built.stderr
    return folder


class _Loads(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag in LOADED and given.get(LOADED[tag]) and given.get("rel") not in ("canonical", "prev", "next"):
            self.found.append(given[LOADED[tag]])


@pytest.mark.slow
def test_pages_load_nothing_from_elsewhere_and_everything_they_load_is_there(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) >= 14
    for page in pages:
        parser = _Loads()
        parser.feed(page.read_text("utf8"))
        for address in parser.found:
            assert not urlparse(address).netloc, f"{page.name} loads {address}"
            if page.name != "404.html":
                assert (page.parent / unquote(urlparse(address).path)).exists(), f"{page.name}: {address}"


@pytest.mark.slow
def test_style_sheets_load_nothing_from_elsewhere(site):
    for sheet in site.rglob("*.css"):
        text = sheet.read_text("utf8")
        assert not re.search(r"url\([\"']?(?:https?:)?//|@import", text), sheet.name


@pytest.mark.slow
def test_the_drawing_of_the_rooms_has_every_room(site):
    text = (site / "code.html").read_text("utf8")
    drawn = set(re.findall(r"<text[^>]*>([\w]+)</text>", text))
    package = ROOT / "nerfstudio_avatars"
    rooms = {path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert rooms - {"__init__", "assets"} <= drawn


@pytest.mark.slow
def test_the_library_page_shows_signatures_and_docstrings(site):
    text = (site / "library.html").read_text("utf8")
    assert "Avatar.load" in text and "Raises" in text and "BodySequence" in text
