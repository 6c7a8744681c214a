"""The page shows what lies beside it and nothing else, by relative links, with words for what cannot be seen."""

from html.parser import HTMLParser

import numpy as np
import pytest

from nerfstudio_avatars.avatars.result_page import SHOWN, ResultPage, write_result_page
from nerfstudio_avatars.media.picture_files import write_png

FIGURES = {"steps": 300, "train_seconds": 12.34, "novel_view_psnr": 31.456, "novel_view_ssim": 0.98, "render_fps": 2.0}
FILES = ("video.mp4", "turntable.mp4", "walk.mp4", "looks/0.png", "looks/1.png", "looks/2.png")


class Tags(HTMLParser):
    """All elements with their attributes, in order; and how deep each is folded."""

    def __init__(self, page):
        super().__init__()
        self.found, self.folded, self._depth = [], [], 0
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self._depth += tag == "details"
        self.found.append((tag, dict(attrs)))
        self.folded.append(self._depth)

    def handle_endtag(self, tag):
        self._depth -= tag == "details"

    def of(self, *names):
        return [attributes for tag, attributes in self.found if tag in names]


def page(**changes):
    options = {"title": "Ada", "told": ["Trained."], "live": "ada.html", "next": ["ns-avatar view --load-config ada"]}
    return ResultPage(**(options | changes))


@pytest.fixture
def full(tmp_path):
    for number in range(20):
        (tmp_path / "held-out").mkdir(exist_ok=True)
        write_png(tmp_path / "held-out" / f"novel_view-{number:06d}.png", np.zeros((2, 6, 3), np.uint8))
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        if name.endswith("png"):
            write_png(tmp_path / name, np.zeros((5, 3, 3), np.uint8))
        else:
            (tmp_path / name).touch()
    trainings = {"10 s": FIGURES, "30 s": FIGURES | {"novel_view_psnr": 34.5}}
    return write_result_page(tmp_path, page(trainings=trainings, size=320, remarks=["Turned by 337 degrees."]))


def test_every_link_leads_to_a_file_beside_it(full):
    (full.parent / "ada.html").touch()
    tags = Tags(full.read_text())
    links = [one[key] for one in tags.of("img", "video", "iframe", "a") for key in ("src", "href") if key in one]
    assert len(links) == len(FILES) + 20 + 2 and all((full.parent / link).is_file() for link in links)


def test_what_is_seen_has_words_for_those_who_do_not(full):
    tags = Tags(full.read_text())
    assert all(one["alt"] for one in tags.of("img"))
    assert {(one["width"], one["height"]) for one in tags.of("img")} == {("6", "2"), ("3", "5")}, "each keeps its place"
    assert all(one["aria-label"] for one in tags.of("video")) and all(one["title"] for one in tags.of("iframe"))


def test_a_dozen_comparisons_are_shown_and_the_rest_is_folded(full):
    text = full.read_text()
    tags = Tags(text)
    pictures = [
        depth for (tag, one), depth in zip(tags.found, tags.folded, strict=True)
        if tag == "img" and one["src"].startswith("held-out/")
    ]  # fmt: skip
    assert pictures.count(0) == SHOWN == 12 and pictures.count(1) == 8 and "8 more" in text


def test_a_phone_is_told_that_the_page_is_for_it_and_videos_are_as_large_as_they_are(full):
    tags = Tags(full.read_text())
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in tags.of("meta")
    assert [one["style"] for one in tags.of("video")] == ["max-width: 320px"] * 3


def test_figures_are_explained_and_every_training_has_its_row_and_its_picture(full):
    text = full.read_text()
    for expected in ("31.46", "34.50", "12.3", "30 dB is hard to tell apart", "After 10 s", "After 30 s"):
        assert expected in text
    assert "poses PSNR" not in text, "no training has that figure"
    assert "Turned by 337 degrees." in text and "ns-avatar view --load-config ada" in text


def test_a_first_page_shows_what_is_there(tmp_path):
    (tmp_path / "video.mp4").touch()
    text = write_result_page(tmp_path, page(next=[])).read_text()
    assert [one["src"] for one in Tags(text).of("video")] == ["video.mp4"]
    for missing in ("<img", "<table", "<pre", "Held-out"):
        assert missing not in text


def test_what_is_not_known_of_a_training_leaves_its_cell_empty(tmp_path):
    resumed = {key: value for key, value in FIGURES.items() if key != "train_seconds"}
    text = write_result_page(tmp_path, page(trainings={"short": FIGURES, "long": resumed})).read_text()
    assert "<th>long</th><td></td><td>300</td>" in text


def test_words_from_outside_are_escaped(tmp_path):
    text = write_result_page(
        tmp_path, page(title="<b>", told=["a & b"], live='".html', remarks=["<i>"], trainings={"<u>": FIGURES})
    ).read_text()
    for bad in ("<b>", "<i>", "<u>", 'src="".html'):
        assert bad not in text
    assert "a &amp; b" in text
