"""The studio of learnt heads as a user has it: `ns-avatar view` in a process of its own, its page in Chromium."""

from urllib.parse import urlsplit

import av
import cv2
import numpy as np
import pytest
from chromium import find_chromium, open_page
from studio_browser import SIDE, after, downloaded, viewed

from nerfstudio_avatars.avatars.run import load_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_chromium() is None, reason="Chromium is not installed (apt-get install chromium)"),
]
CHOSEN = "[...document.querySelectorAll('input')].some((one) => one.value === '{}')"


@pytest.fixture(scope="module")
def address(volanim_config):
    with viewed("--load-config", str(volanim_config), "--port", "7411") as place:
        yield place


@pytest.fixture(scope="module")
def page(address):
    with open_page(address, 1000, 760) as opened:
        # It opens while the avatar is read; the kernels may have to be compiled.
        opened.wait("window.pictures && window.pictures.length > 0", 300)
        yield opened


def difference(a, b):
    b = cv2.resize(b, a.shape[1::-1], interpolation=cv2.INTER_AREA)
    return np.abs(a.astype(int) - b.astype(int)).mean()


def test_another_one_is_chosen_and_somebody_who_does_not_exist(page):
    first = page.still_picture(SIDE)
    page.click("Who", "[role=tab]")
    stranger = after(page, lambda: page.click("Somebody who does not exist"))
    assert difference(first, stranger) > 0.3
    assert page.run(CHOSEN.format("random:1"))


def test_yaw_turns_it_and_play_advances(page):
    page.click("Motion", "[role=tab]")
    before = page.still_picture(SIDE)
    assert difference(before, after(page, lambda: page.type_number("Yaw", 40))) > 0.3
    count = page.run("window.pictures.length")
    page.click("Play")
    page.wait(f"window.pictures.length > {count} + 4")
    page.click("Pause")


def test_a_part_is_hidden_and_parts_have_colours(page):
    page.click("Look", "[role=tab]")
    before = page.still_picture(SIDE)
    label = "[...document.querySelectorAll('label')].find((one) => one.textContent.trim().startsWith('Part 1'))"
    assert difference(before, after(page, lambda: page.run(f"{label}.click()"))) > 0.3
    after(page, lambda: page.run(f"{label}.click()"))
    coloured = after(page, lambda: page.choose("Output", "parts")).reshape(-1, 3).astype(int)
    assert np.ptp(coloured, axis=1).max() > 150, "a saturated colour"


def test_a_picture_that_is_uploaded_becomes_somebody(page, head_clips):
    page.click("Who", "[role=tab]")
    picture = sorted((head_clips / "test").glob("*/*.png"))[0]
    page.upload(picture)
    page.wait(f"[...document.querySelectorAll('input')].some((one) => one.value === '{picture.stem}')")
    page.wait("document.body.textContent.includes('is here')")


def test_the_clip_is_filmed_and_its_curves_move_others(page, volanim_config):
    from nerfstudio_avatars.avatars.driving_clip import load_curves

    page.click("Take", "[role=tab]")
    page.click("Take motion")
    curves = downloaded(page, "motion.npz")
    assert len(load_curves(curves, load_run(volanim_config).model)) == 16
    page.click("Film")
    with av.open(str(downloaded(page, "film.mp4"))) as film:
        assert len(list(film.decode(video=0))) == 16


def test_the_webcam_gives_a_picture_and_a_clip(page):
    page.click("Who", "[role=tab]")
    page.click("Webcam picture")
    page.wait("document.querySelector('#webcam canvas') && !document.querySelector('#webcam button').disabled")
    page.click("Take the picture")
    page.wait(CHOSEN.format("webcam"), 180)
    page.click("Motion", "[role=tab]")
    page.click("Webcam clip")
    page.wait("document.querySelector('#webcam canvas') && !document.querySelector('#webcam button').disabled")
    page.click("Record 5 seconds")
    page.wait(CHOSEN.format("webcam.webm"), 120)
    count = page.run("window.pictures.length")
    page.wait(f"window.pictures.length > {count} + 4")
    page.click("Pause")
    assert page.run("document.querySelector('#webcam')") is None


def test_nothing_was_asked_of_any_other_machine(page, address):
    asked = {urlsplit(url.removeprefix("blob:")).netloc for url in page.requests if not url.startswith("data:")}
    assert asked == {urlsplit(address).netloc}
    assert not page.complaints
