"""The studio as a user has it: `ns-avatar view` in a process of its own, its page in Chromium, judged by its pixels."""

import os
import time
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
import torch
from chromium import find_chromium, open_page
from scipy import ndimage
from studio_browser import SIDE, after, downloaded, viewed

from nerfstudio_avatars import Avatar
from nerfstudio_avatars.avatars.cameras import read_camera_file
from nerfstudio_avatars.motion import load_motion
from nerfstudio_avatars.motion.bvh_writer import bvh_text
from nerfstudio_avatars.motion.npz import read_npz

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_chromium() is None, reason="Chromium is not installed (apt-get install chromium)"),
]
SHOWN = "[...document.querySelectorAll('button')].some((one) => one.textContent.trim() === '{}')"


@pytest.fixture(scope="module")
def portable(orphan, tmp_path_factory):
    """A file with the person, and nothing beside it."""
    path = tmp_path_factory.mktemp("portable") / "my friend.avatar"
    Avatar.load(orphan).export(path)
    return path


@pytest.fixture(scope="module")
def address(portable, person_data):
    """Where the page of that file is."""
    with viewed("--load-config", str(portable), "--data", str(person_data), "--port", "7391") as place:
        yield place


@pytest.fixture(scope="module")
def page(address):
    with open_page(address, 1000, 760) as opened:
        # It opens while the avatar is read; the kernels may have to be compiled.
        opened.wait("window.pictures && window.pictures.length > 0", 300)
        yield opened


def body_box(picture):
    """Rows and columns of what is not background, as shares of the picture."""
    covered = (picture.astype(int) < 235).any(-1)
    rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
    return rows[[0, -1]] / picture.shape[0], columns[[0, -1]] / picture.shape[1]


def changed(a, b):
    """Pixels that differ clearly. Pictures in motion have the size that the machine can keep up with."""
    b = cv2.resize(b, a.shape[1::-1], interpolation=cv2.INTER_AREA)
    return np.abs(a.astype(int) - b.astype(int)).max(-1) > 30


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


def test_the_pose_is_saved_beside_the_avatar_and_downloaded(page, portable):
    page.click("Save pose")
    for path in (downloaded(page, "pose.npz"), portable.parent / "poses" / "pose.npz"):
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


def _resting_balls(page, seconds=60):
    """The same, once they have rested for three looks: a busy browser shows them one after the other."""
    end, before, looks = time.monotonic() + seconds, [], 0
    while looks < 3:
        if time.monotonic() > end:
            raise TimeoutError(f"joints do not rest: {before}")
        time.sleep(1)
        balls = _balls(page.screenshot())
        still = len(balls) == len(before) >= 10 and np.abs(np.subtract(balls, before)).max() < 2
        before, looks = balls, looks + 1 if still else 0
    return before


def test_an_arrow_at_the_hand_is_dragged_and_the_arm_follows(page):
    before = after(page, lambda: page.click("Reset"))
    page.tick("Handles")
    hand, wrist = _resting_balls(page)[:2]
    assert hand[0] > wrist[0] + 5
    arrow = _arrow(page, wrist)
    moved = after(page, lambda: page.drag(arrow, (arrow[0] - 10, arrow[1] - 50), 1.0))
    columns = np.nonzero(changed(before, moved))[1]
    assert len(columns) > 30 and columns.min() > 0.5 * before.shape[1]
    page.tick("Handles")


def _arrow(page, wrist, seconds=90):
    """The tip of the red arrow along the forearm, which comes when the wrist is clicked."""
    begin = time.monotonic()
    before = _red(page)
    clicked = -1e9
    while time.monotonic() < begin + seconds:
        # Each click makes new rings, which a busy browser takes seconds to show.
        if time.monotonic() - clicked > 10:
            page.drag(wrist, wrist, 0.1, steps=2)
            clicked = time.monotonic()
        time.sleep(1)
        rows, columns = np.nonzero(_red(page) & ~before)
        near = np.hypot(columns - wrist[0], rows - wrist[1])
        if len(near) and near[near < 90].size > 10:
            far = np.where(near < 90, near, 0).argmax()
            return float(columns[far]), float(rows[far])
    raise TimeoutError(f"no arrow was shown at the wrist, {wrist}")


def _red(page):
    """Where the scene is red. A busy browser draws it coarsely, which pales thin lines."""
    red, green, blue = page.screenshot()[:, :660].astype(int).transpose(2, 0, 1)
    return (red - green > 90) & (red - blue > 50)


def test_a_bvh_that_is_uploaded_plays(page, standin, tmp_path):
    page.click("Motion", "[role=tab]")
    walk = load_motion("walk")
    (tmp_path / "stroll.bvh").write_text(bvh_text(walk, standin.rest(walk.betas)[1]))
    page.upload(tmp_path / "stroll.bvh")
    page.wait("[...document.querySelectorAll('input')].some((one) => one.value === 'stroll.bvh')")
    page.wait(SHOWN.format("Pause"))
    count = page.run("window.pictures.length")
    page.wait(f"window.pictures.length > {count} + 10")
    first = page.last_picture()
    page.wait(f"window.pictures.length > {count} + 20")
    assert changed(first, page.last_picture()).any()


def test_space_pauses_and_the_keys_step(page):
    page.press(" ", "Space", 32, " ")
    page.wait(SHOWN.format("Play"))
    before = page.still_picture(SIDE)

    def steps():
        for _ in range(8):
            page.press(".", "Period", 190, ".")

    assert changed(before, after(page, steps)).any()


LEAST = 2 if "PYTEST_XDIST_WORKER" in os.environ else 8
"""Pictures a second while the camera turns, on two cores that run this test alone; side by side, others take time."""


def test_while_the_camera_turns_pictures_come_and_have_128_pixels_and_more(page):
    front = after(page, lambda: page.click("Front view"))
    start = page.run("window.pictures.length")
    page.drag((300, 350), (420, 350), seconds=4.0)
    # None would come, if each move of the camera stopped the picture at hand.
    assert page.run("window.pictures.length") >= start + 4 * LEAST
    sizes = page.run(
        f"Promise.all(window.pictures.slice({start}).map(async ({{ blob }}) => (await createImageBitmap(blob)).height))"
    )
    assert min(sizes) >= 100  # Of 128 pixels along the longer side.
    assert changed(front, page.still_picture(SIDE)).any()
    assert changed(front, after(page, lambda: page.press("Home", number=36))).mean() < 0.01


def test_pictures_come_while_the_camera_turns_and_a_motion_plays(page):
    page.press(" ", "Space", 32, " ")
    page.wait(SHOWN.format("Pause"))
    start = page.run("window.pictures.length")
    page.drag((300, 350), (420, 350), seconds=4.0)
    assert page.run("window.pictures.length") >= start + 4 * LEAST
    page.press(" ", "Space", 32, " ")
    page.wait(SHOWN.format("Play"))
    page.press("Home", number=36)


FRAMES = (
    "new Promise((tell) => { let count = 0; const end = performance.now() + 3000; const frame = () => { count += 1; "
    "performance.now() < end ? requestAnimationFrame(frame) : tell(count); }; requestAnimationFrame(frame); })"
)
"""Frames that the page draws in three seconds."""


def test_a_page_that_nobody_touches_rests(page):
    page.still_picture(SIDE)
    time.sleep(2)
    resting = page.run(FRAMES)
    page.run("window.touching = setInterval(() => window.dispatchEvent(new Event('pointermove')), 100)")
    touched = page.run(FRAMES)
    page.run("clearInterval(window.touching)")
    assert resting <= 5 < touched


def test_a_picture_is_taken_without_its_background(page):
    from PIL import Image

    page.click("Look", "[role=tab]")
    page.choose("Background", "transparent")
    page.click("Take", "[role=tab]")
    page.click("Take picture")
    picture = np.asarray(Image.open(downloaded(page, "avatar.png")))
    assert max(picture.shape) == 1024 and picture.shape[2] == 4
    assert picture[0, 0, 3] == 0 and picture[..., 3].max() > 200


def test_another_shape_is_shown_and_taken_back(page):
    page.click("Motion", "[role=tab]")
    page.choose("Motion", "training video")
    page.wait(SHOWN.format("Pause"))
    page.press(" ", "Space", 32, " ")
    page.wait(SHOWN.format("Play"))
    page.click("Look", "[role=tab]")
    before = after(page, lambda: page.choose("Background", "white"))
    page.click("Pose", "[role=tab]")
    page.unfold("Shape")
    other = after(page, lambda: page.type_number("Shape 1", 4))
    heights = [np.ptp(body_box(picture)[0]) for picture in (before, other)]
    assert abs(heights[1] / heights[0] - 1) > 0.03
    assert changed(before, after(page, lambda: page.click("Reset shape"))).mean() < 0.001


def test_the_cells_that_rays_visit_are_laid_over_the_person(page):
    page.click("Look", "[role=tab]")
    before = page.screenshot()[:, :660].astype(int)
    page.choose("Overlay", "occupied cells")
    end = time.monotonic() + 20
    while time.monotonic() < end:
        now = page.screenshot()[:, :660].astype(int)
        orange = (now[..., 0] - now[..., 2] > before[..., 0] - before[..., 2] + 20).astype(np.uint8)
        person = (before < 200).any(-1)
        # Cells surround the person, in the same place.
        if orange[person].mean() > 0.8:
            break
    # This avatar was hardly trained: its cells are large, and many are occupied.
    assert orange[person].mean() > 0.8 and 0.005 < orange[~person].mean() < 0.5
    # They follow where the arm goes: up, in the first frame, which shows it from the back.
    page.press("Home", number=36)
    page.click("Pose", "[role=tab]")
    after(page, lambda: page.type_number("left_shoulder z", 40))
    time.sleep(1)
    covered = page.screenshot()[:, :660].astype(int)
    page.click("Look", "[role=tab]")
    page.choose("Overlay", "nothing")
    page.still_picture(SIDE)
    time.sleep(2)
    bare = page.screenshot()[:, :660].astype(int)
    arm = (bare < 200).any(-1) & ~ndimage.binary_dilation(person, iterations=3)
    orange = covered[..., 0] - covered[..., 2] > bare[..., 0] - bare[..., 2] + 20
    assert arm.sum() > 100 and orange[arm].mean() > 0.8


def test_the_training_picture_stands_beside_the_avatar(page):
    picture = after(page, lambda: page.tick("Compare with the video")).astype(float)
    told = page.wait("(document.body.innerText.match(/Frame \\d+: [\\d.]+ dB/) || [])[0]")
    third = SIDE // 3
    video, avatar, difference = (picture[:, n * third : (n + 1) * third] for n in range(3))
    (top, bottom), (left, right) = body_box(difference[..., :1].repeat(3, 2))
    inside = np.s_[int(top * len(picture)) + 2 : int(bottom * len(picture)) - 2, 6:-6]
    assert difference[inside].mean() < 60 and video[inside].mean() > 120
    a, b = video[inside] / 255, avatar[inside] / 255
    seen = -10 * np.log10(((a - b) ** 2).mean())
    assert seen == pytest.approx(float(told.split()[2]), abs=2.5)
    assert len(page.wait("document.body.innerText.match(/Compare with the video/)")) == 1
    after(page, lambda: page.tick("Compare with the video"))


def test_a_film_follows_the_camera_path_and_shows_what_ns_render_does(page, portable, orphan):
    import av

    page.click("Motion", "[role=tab]")
    page.type_number("Frame", 0)
    page.press("Home", number=36)
    page.click("Camera path", "[role=tab]")
    # On a busy machine the picture from before stays for a while.
    start = page.still_picture(SIDE, quiet=4)
    page.click("Add Keyframe")
    page.drag((300, 350), (380, 350), 0.3, steps=4)
    page.still_picture(SIDE, quiet=4)
    page.click("Add Keyframe")
    time.sleep(2)  # The page does not tell when the key frame is there.
    page.click("Generate Command")
    page.wait("document.body.innerText.includes('ns-avatar animate --load-config')")
    page.click("Close")
    (path,) = (portable.parent / "camera_paths").glob("*.json")
    height, width = start.shape[:2]
    cameras = read_camera_file(path, height, width).cameras
    model = Avatar.load(orphan).model
    rendered = (255 * model.get_outputs_for_camera(cameras[:1])["rgb"].clamp(0, 1)).round().byte().numpy()
    assert not changed(rendered, start).any()
    page.press("Home", number=36)
    page.click("Take", "[role=tab]")
    page.choose("Camera", "camera path")
    page.type_number("Seconds", 1)
    page.type_number("Frames per second", 2)
    page.click("Film")
    with av.open(str(downloaded(page, "avatar.mp4"))) as film:
        pictures = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(pictures) == 2
    cameras = read_camera_file(path, *pictures[0].shape[:2]).cameras
    ends = cameras[:1], cameras[len(cameras) - 1 :]
    first, last = ((255 * model.get_outputs_for_camera(end)["rgb"]).clamp(0, 255).numpy() for end in ends)
    assert changed(first, pictures[0]).mean() < 0.002 < changed(last, pictures[0]).mean()


def test_avatar_and_motion_leave_as_files_that_open(page, portable):
    from nerfstudio_avatars.motion.gltf_file import GltfFile

    page.click("Take", "[role=tab]")
    page.choose("File", ".npz")
    page.click("Take motion")
    assert len(read_npz(downloaded(page, "motion.npz"))) == len(Avatar.load(portable).model.person.video_frames)
    page.unfold("More")
    page.type_number("Triangles", 1500)
    page.type_number("Texels", 64)
    page.click("Take avatar")
    page.wait("document.body.innerText.includes('Cancel')")
    file = GltfFile(downloaded(page, "my friend.glb", 120))
    assert [animation["name"] for animation in file.json["animations"]] == ["training video"]
    page.choose("Format", "avatar")
    page.type_text("Licence", "CC0-1.0")
    page.click("Take avatar")
    found = Avatar.load(downloaded(page, "my friend.avatar"))
    assert found.run.provenance.licence == "CC0-1.0"
    assert torch.equal(found.model.poses.transl, Avatar.load(portable).model.poses.transl)


def test_keys_mean_the_page_after_a_click_too(page):
    page.run("document.activeElement.blur()")
    page.press("1", "Digit1", 49, "1")
    page.wait("document.querySelector('[role=tab][aria-selected=true]').textContent.trim() === 'Motion'")
    box = page.run(
        "(() => { const all = [...document.querySelectorAll('input[type=checkbox]')]; "
        "const one = all.find((each) => each.offsetParent !== null).getBoundingClientRect(); "
        "return [one.x + one.width / 2, one.y + one.height / 2]; })()"
    )
    for checked in ("false", "true"):
        page.drag(box, box, 0.05, steps=1)
        page.wait(f"document.activeElement.type === 'checkbox' && document.activeElement.checked === {checked}")
    page.press(" ", "Space", 32, " ")
    page.wait(SHOWN.format("Pause"))
    page.press(" ", "Space", 32, " ")
    page.wait(SHOWN.format("Play"))
    assert page.run("document.activeElement.type === 'checkbox' && document.activeElement.checked")
    before = page.still_picture(SIDE)
    # Arrows are viser's own keys, which it leaves to whatever has the focus.
    page.run("document.activeElement.blur()")
    assert changed(before, after(page, lambda: page.hold("ArrowLeft", 37, 0.5))).any()


def test_a_phone_shows_the_person_and_a_tap_unfolds_the_panel(address):
    with open_page(address, 400, 800) as phone:
        phone.wait("window.pictures && window.pictures.length > 0")
        phone.wait(SHOWN.format("Front view"))
        front = "[...document.querySelectorAll('button')].find((one) => one.textContent.trim() === 'Front view')"
        title = "[...document.querySelectorAll('div')].filter((one) => one.textContent.trim() === 'my friend').at(-1)"
        phone.wait(f"{front}.offsetParent === null")
        for folded in ("false", "true"):
            phone.run(f"{title}.click()")
            phone.wait(f"({front}.offsetParent === null) === {folded}")
        assert not phone.complaints


def test_nothing_was_asked_of_any_other_machine(page, address):
    asked = {urlsplit(url.removeprefix("blob:")).netloc for url in page.requests if not url.startswith("data:")}
    assert asked == {urlsplit(address).netloc}
    assert not page.complaints
