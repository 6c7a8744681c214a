"""The studio of learnt heads as a user has it: `ns-avatar view` in a process of its own, its page in Chromium."""

import os
import subprocess
import sys
import time
from urllib.parse import urlsplit

import av
import cv2
import numpy as np
import pytest
from chromium import find_chromium, open_page

from nerfstudio_avatars.avatars.run import load_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_chromium() is None, reason="Chromium is not installed (apt-get install chromium)"),
]
SIDE = 512


@pytest.fixture(scope="module")
def address(volanim_config):
    command = [sys.executable, "-m", "nerfstudio_avatars.cli", "view", "--load-config", str(volanim_config)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    environment.pop("DISPLAY", None)
    with subprocess.Popen([*command, "--port", "7411"], stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            line = next(line for line in process.stdout if line.startswith("Looking at"))
            yield line.split()[-1]
        finally:
            process.terminate()
            process.wait(timeout=20)


@pytest.fixture(scope="module")
def page(address):
    with open_page(address, 1000, 760) as opened:
        yield opened


def after(page, action):
    """The picture that stays after something was done."""
    count = page.run("window.pictures.length")
    action()
    page.wait(f"window.pictures.length > {count}")
    return page.still_picture(SIDE)


def difference(a, b):
    b = cv2.resize(b, a.shape[1::-1], interpolation=cv2.INTER_AREA)
    return np.abs(a.astype(int) - b.astype(int)).mean()


def downloaded(page, name, seconds=300):
    """Waits for a file. The browser is asked meanwhile: whoever does not listen to it is cut off, and gets no files."""
    path, end = page.downloads / name, time.monotonic() + seconds
    while not path.exists() and time.monotonic() < end:
        page.run("1")
        time.sleep(0.2)
    return path


def test_another_one_is_chosen_and_somebody_who_does_not_exist(page):
    first = page.still_picture(SIDE)
    page.click("Who", "[role=tab]")
    stranger = after(page, lambda: page.click("Somebody who does not exist"))
    assert difference(first, stranger) > 0.3
    assert page.run("[...document.querySelectorAll('input')].some((one) => one.value === 'random:1')")


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


def test_nothing_was_asked_of_any_other_machine(page, address):
    asked = {urlsplit(url.removeprefix("blob:")).netloc for url in page.requests if not url.startswith("data:")}
    assert asked == {urlsplit(address).netloc}
    assert not page.complaints
