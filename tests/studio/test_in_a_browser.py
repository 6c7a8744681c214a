"""The studio as a user has it: `ns-avatar view` in a process of its own, its page in Chromium, judged by its pixels."""

import os
import subprocess
import sys
import time
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
from chromium import find_chromium, open_page
from scipy import ndimage

from nerfstudio_avatars.motion import load_motion
from nerfstudio_avatars.motion.bvh_writer import bvh_text
from nerfstudio_avatars.motion.npz import read_npz

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_chromium() is None, reason="Chromium is not installed (apt-get install chromium)"),
]
SIDE = 512


@pytest.fixture(scope="module")
def address(orphan):
    """Where the page of a finished run is, whose data are gone."""
    command = [sys.executable, "-m", "nerfstudio_avatars.cli", "view", "--load-config", str(orphan)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    environment.pop("DISPLAY", None)
    with subprocess.Popen([*command, "--port", "7391"], stdout=subprocess.PIPE, text=True, env=environment) as process:
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


def body_box(picture):
    """Rows and columns of what is not background, as shares of the picture."""
    covered = (picture.astype(int) < 235).any(-1)
    rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
    return rows[[0, -1]] / picture.shape[0], columns[[0, -1]] / picture.shape[1]


def after(page, action):
    """The picture that stays after something was done."""
    count = page.run("window.pictures.length")
    action()
    page.wait(f"window.pictures.length > {count}")
    return page.still_picture(SIDE)


def changed(a, b):
    """Pixels that differ clearly. Pictures in motion have the size that the machine can keep up with."""
    b = cv2.resize(b, a.shape[1::-1], interpolation=cv2.INTER_AREA)
    return np.abs(a.astype(int) - b.astype(int)).max(-1) > 60


def test_it_opens_on_the_whole_person_in_the_middle(page):
    rows, columns = body_box(page.still_picture(SIDE))
    assert 0.05 < rows[0] < 0.25 and 0.75 < rows[1] < 0.95
    assert columns.mean() == pytest.approx(0.5, abs=0.06) and columns[0] > 0.05 and columns[1] < 0.95


def test_a_slider_moves_its_limb_and_nothing_else(page):
    page.click("Pose", "[role=tab]")
    page.unfold("Left arm")
    before = page.still_picture(SIDE)
    bent = after(page, lambda: page.type_number("left_elbow y", -90))
    (top, bottom), (_, right) = body_box(before)
    rows, columns = np.nonzero(changed(before, bent))
    height, width = before.shape[:2]
    # Of whoever looks at us, the left arm is on the right.
    assert len(rows) > 30 and columns.min() > 0.55 * width
    assert columns.max() <= (right + 0.05) * width and rows.max() < (top + 0.7 * (bottom - top)) * height


def test_the_pose_is_saved_with_the_run_and_downloaded(page, orphan):
    page.click("Save pose")
    end = time.monotonic() + 20
    while not list(page.downloads.glob("*.npz")) and time.monotonic() < end:
        time.sleep(0.1)
    for path in (orphan / "poses" / "pose.npz", page.downloads / "pose.npz"):
        elbow = read_npz(path).body_pose[0].view(23, 3)[17]
        assert float(elbow[1]) == pytest.approx(-np.pi / 2, abs=1e-3)


def test_undo_brings_the_picture_back(page):
    bent = page.still_picture(SIDE)
    straight = after(page, lambda: page.click("Undo"))
    assert changed(bent, straight).sum() > 30


def _balls(window):
    """Middles of the joints' balls in the window, in pixels, from right to left."""
    red, green, blue = window[:, :660].astype(int).transpose(2, 0, 1)
    labels, count = ndimage.label((red < 90) & (green > red + 30) & (blue > green + 25))
    middles = ndimage.center_of_mass(labels > 0, labels, range(1, count + 1))
    return sorted(((x, y) for y, x in middles), reverse=True)


def test_an_arrow_at_the_hand_is_dragged_and_the_arm_follows(page):
    before = after(page, lambda: page.click("Reset"))
    page.run("[...document.querySelectorAll('label')].find((one) => one.textContent.trim() === 'Handles').click()")
    end = time.monotonic() + 20
    while len(balls := _balls(page.screenshot())) < 10 and time.monotonic() < end:
        time.sleep(0.2)
    hand, wrist = balls[:2]
    assert hand[0] > wrist[0] + 5
    arrow = _arrow(page, wrist)
    moved = after(page, lambda: page.drag(arrow, (arrow[0] - 10, arrow[1] - 50), 1.0))
    columns = np.nonzero(changed(before, moved))[1]
    assert len(columns) > 30 and columns.min() > 0.5 * before.shape[1]
    page.run("[...document.querySelectorAll('label')].find((one) => one.textContent.trim() === 'Handles').click()")


def _arrow(page, wrist, seconds=40):
    """The tip of the red arrow along the forearm, which comes when the wrist is clicked."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        page.drag(wrist, wrist, 0.1, steps=2)
        time.sleep(2)
        red, green, blue = page.screenshot()[:, :660].astype(int).transpose(2, 0, 1)
        rows, columns = np.nonzero((red > 230) & (green < 60) & (blue > 70) & (blue < 130))
        near = np.hypot(columns - wrist[0], rows - wrist[1])
        if len(near) and near[near < 90].size > 10:
            far = np.where(near < 90, near, 0).argmax()
            return float(columns[far]), float(rows[far])
    raise TimeoutError("no arrow was shown at the wrist")


def test_a_bvh_that_is_uploaded_plays(page, standin, tmp_path):
    page.click("Motion", "[role=tab]")
    walk = load_motion("walk")
    (tmp_path / "stroll.bvh").write_text(bvh_text(walk, standin.rest(walk.betas)[1]))
    page.upload(tmp_path / "stroll.bvh")
    page.wait("[...document.querySelectorAll('input')].some((one) => one.value === 'stroll.bvh')")
    page.wait("[...document.querySelectorAll('button')].some((one) => one.textContent.trim() === 'Pause')")
    count = page.run("window.pictures.length")
    page.wait(f"window.pictures.length > {count} + 10")
    first = page.last_picture()
    page.wait(f"window.pictures.length > {count} + 20")
    assert changed(first, page.last_picture()).any()


def test_space_pauses_and_the_keys_step(page):
    page.press(" ", "Space", 32, " ")
    page.wait("[...document.querySelectorAll('button')].some((one) => one.textContent.trim() === 'Play')")
    before = page.still_picture(SIDE)
    assert changed(before, after(page, lambda: page.press(".", "Period", 190, "."))).any()


def test_while_the_camera_turns_pictures_have_128_pixels_and_more(page):
    front = after(page, lambda: page.click("Front view"))
    start = page.run("window.pictures.length")
    page.drag((300, 350), (420, 350), seconds=4.0)
    page.wait(f"window.pictures.length > {start} + 1")
    sizes = page.run(
        f"Promise.all(window.pictures.slice({start}).map(async ({{ blob }}) => (await createImageBitmap(blob)).height))"
    )
    assert min(sizes) >= 100  # Of 128 pixels along the longer side.
    assert changed(front, page.still_picture(SIDE)).any()
    assert changed(front, after(page, lambda: page.press("Home", number=36))).mean() < 0.01


def test_a_picture_is_taken_without_its_background(page):
    from PIL import Image

    page.click("Look", "[role=tab]")
    page.choose("Background", "transparent")
    page.click("Take", "[role=tab]")
    page.click("Take picture")
    path, end = page.downloads / "avatar.png", time.monotonic() + 30
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.1)
    picture = np.asarray(Image.open(path))
    assert max(picture.shape) == 1024 and picture.shape[2] == 4
    assert picture[0, 0, 3] == 0 and picture[..., 3].max() > 200


def test_a_phone_gets_the_page_too(address):
    with open_page(address, 400, 800) as phone:
        phone.wait("window.pictures && window.pictures.length > 0")
        phone.wait("[...document.querySelectorAll('button')].some((one) => one.textContent.trim() === 'Front view')")
        assert not phone.complaints


def test_nothing_was_asked_of_any_other_machine(page, address):
    asked = {urlsplit(url.removeprefix("blob:")).netloc for url in page.requests if not url.startswith("data:")}
    assert asked == {urlsplit(address).netloc}
    assert not page.complaints
