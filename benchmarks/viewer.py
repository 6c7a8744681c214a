"""How fast the studio answers: its page in a real browser, and what a page costs a training.

    python benchmarks/viewer.py [--load-config RUN] [--runs outputs/viewer] [--steps 300]

Needs Chromium, which draws the page without a GPU and so takes a core of its own. Without a run, a small person is
drawn and hardly trained. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chromium import Page, find_chromium, open_page
from startup import answers, free_port, trained_run

SIDE = 512
"""Of still pictures, in pixels: what the page opens with."""
REPEATS = 5
SECONDS = 6.0
"""Length of an orbit, and of playing, in seconds."""
TRAINING = """
import sys, time
from copy import deepcopy
from pathlib import Path
from nerfstudio_avatars.methods import instant_avatar_cpu
data, output, steps, port = sys.argv[1:]
config = deepcopy(instant_avatar_cpu.config)
config.output_dir, config.experiment_name, config.timestamp = Path(output), "viewed", "run"
config.max_num_iterations, config.steps_per_eval_image, config.vis = int(steps), 0, "viewer"
config.steps_per_save = 10 * int(steps)
config.viewer.websocket_port, config.viewer.quit_on_train_completion = int(port), True
config.logging.local_writer.enable = False
config.pipeline.datamanager.data = Path(data)
config.save_config()
trainer = config.setup()
trainer.setup()
print("Ready", flush=True)
sys.stdin.readline()
begin = time.perf_counter()
trainer.train()
print("Trained", time.perf_counter() - begin, flush=True)
"""


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load-config", type=Path, help="run to show; by default a small one that is drawn here")
    parser.add_argument("--runs", type=Path, default=Path("outputs/viewer"), help="folder for the data and the runs")
    parser.add_argument("--steps", type=int, default=300, help="number of training steps to time; 0 leaves them out")
    options = parser.parse_args()
    if find_chromium() is None:
        raise SystemExit("Chromium is not installed (apt-get install chromium).")
    found: dict[str, object] = {"machine": f"{platform.machine()}, {os.cpu_count()} cores"}
    found |= of_a_page(options.load_config or trained_run(options.runs))
    if options.steps:
        trained_run(options.runs)
        found |= of_a_training(options.runs, options.steps)
    print(json.dumps(found, indent=2))


def start_of_ns_viewer(run: Path) -> float:
    """Seconds from nerfstudio's command, which shows the same page, to the first picture."""
    begin = time.perf_counter()
    with ns_viewer(run) as address, open_page(address, 1000, 760) as page:
        page.wait("window.pictures && window.pictures.length > 0", 300)
        return time.perf_counter() - begin


def of_a_page(run: Path) -> dict[str, float]:
    """What somebody who looks at a finished run waits for."""
    # The first start of all reads files from the disk and compiles what is not kept yet.
    start_of_ns_viewer(run)
    begin = time.perf_counter()
    with serving(run) as address, open_page(address, 1000, 760) as page:
        page.wait("window.pictures && window.pictures.length > 0", 300)
        start_seconds = time.perf_counter() - begin
        page.still_picture(SIDE)
        waits = slider_waits(page)
        page.click("Front view")
        page.still_picture(SIDE)
        orbit = orbiting(page)
        page.still_picture(SIDE)
        page.click("Motion", "[role=tab]")
        # Chosen, a motion plays.
        page.choose("Motion", "training video")
        time.sleep(2)
        play = rate(page.pictures_during(SECONDS))
        orbit_playing = orbiting(page)
        page.click("Look", "[role=tab]")
        page.choose("Overlay", "body")
        time.sleep(2)
        moved = page.run("window.moves.length")
        play_overlay = rate(page.pictures_during(SECONDS))
        overlay = (page.run("window.moves.length") - moved) / SECONDS
    return {
        "start_seconds": round(start_seconds, 2),
        "start_seconds_ns_viewer": round(start_of_ns_viewer(run), 2),
        "slider_first_ms": round(statistics.median(first for first, _ in waits)),
        "slider_sharp_ms": round(statistics.median(sharp for _, sharp in waits)),
        "orbit_fps": round(rate(orbit), 1),
        "orbit_pixels": round(statistics.median(side for _, side in orbit)),
        "play_fps": round(play, 1),
        "orbit_fps_playing": round(rate(orbit_playing), 1),
        "orbit_pixels_playing": round(statistics.median(side for _, side in orbit_playing)),
        "overlay_fps": round(overlay, 1),
        "play_fps_overlay": round(play_overlay, 1),
    }


def slider_waits(page: Page) -> list[tuple[float, float]]:
    """Milliseconds from a change of a joint to the first picture, and to the sharp one."""
    page.click("Pose", "[role=tab]")
    page.unfold("Left arm")
    page.type_number("left_elbow y", -10)
    page.still_picture(SIDE)
    waits = []
    for repeat in range(REPEATS):
        count, begin = page.run("window.pictures.length"), page.run("performance.now()")
        page.type_number("left_elbow y", -20 - 10 * repeat)
        page.wait(f"window.pictures.length > {count}")
        page.still_picture(SIDE)
        times = page.run(f"window.pictures.slice({count}).map((one) => one.at - {begin})")
        waits.append((times[0], times[-1]))
    return waits


def orbiting(page: Page) -> list[tuple[float, int]]:
    """Pictures while the mouse turns the view."""
    start = page.run("performance.now()")
    for end in (500, 300):
        page.drag((300 if end == 500 else 500, 380), (end, 380), SECONDS / 2, steps=80)
    found = page.run(
        f"Promise.all(window.pictures.filter((one) => one.at >= {start}).map(async (one) => {{ const map = await "
        "createImageBitmap(one.blob); return [one.at / 1000, Math.max(map.width, map.height)]; }))"
    )
    return [(float(at), int(side)) for at, side in found if side < SIDE]


def rate(pictures: list[tuple[float, int]]) -> float:
    """Pictures per second."""
    if len(pictures) < 2:
        return 0.0
    return (len(pictures) - 1) / (pictures[-1][0] - pictures[0][0])


def of_a_training(runs: Path, steps: int) -> dict[str, float]:
    """What a page that is open costs a training: its time over that without one."""
    alone = min(training(runs, steps, "none") for _ in range(2))
    return {
        "training_slowdown": round(min(training(runs, steps, "browser") for _ in range(2)) / alone, 2),
        "training_slowdown_elsewhere": round(min(training(runs, steps, "elsewhere") for _ in range(2)) / alone, 2),
    }


def training(runs: Path, steps: int, watcher: str) -> float:
    """Seconds of some training steps.

    Args:
        runs: the folder with the data.
        steps: to train for.
        watcher: `none`; `browser`, on this computer; or `elsewhere`, a page that costs this computer nothing but its
            pictures.
    """
    port = free_port()
    arguments = [str(runs / "person"), str(runs / "viewed"), str(steps), str(port)]
    # Idle threads that spin would be what is measured on a busy machine.
    calm = {**os.environ, "OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}
    command = [sys.executable, "-c", TRAINING, *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=calm)
    assert process.stdin is not None and process.stdout is not None
    next(line for line in process.stdout if line.startswith("Ready"))

    def go() -> float:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("go\n")
        process.stdin.flush()
        line = next(line for line in process.stdout if line.startswith("Trained"))
        return float(line.split()[1])

    try:
        address = f"http://localhost:{port}"
        if watcher == "browser":
            with open_page(address, 1000, 760) as page:
                page.wait("window.pictures && window.pictures.length > 0", 120)
                time.sleep(3)
                return go()
        if watcher == "elsewhere":
            with bare_page(port):
                return go()
        return go()
    finally:
        process.kill()
        process.wait()


@contextmanager
def bare_page(port: int) -> Iterator[None]:
    """Says where its camera is, and throws pictures away: what a browser on another computer costs this one."""
    import msgspec
    from viser._messages import ViewerCameraMessage
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    look = ViewerCameraMessage((0.5**0.5, -(0.5**0.5), 0, 0), (0, -40, 0), 0.6, 1.0, (0, 0, 0), (0, 0, 1))
    with connect(f"ws://127.0.0.1:{port}", max_size=None) as socket:
        socket.send(msgspec.msgpack.encode(look.as_serializable_dict()))

        def drain() -> None:
            try:
                while True:
                    socket.recv()
            except ConnectionClosed:
                return

        threading.Thread(target=drain, daemon=True).start()
        time.sleep(3)
        yield


@contextmanager
def serving(run: Path) -> Iterator[str]:
    """The address of `ns-avatar view`, in a process of its own."""
    command = [sys.executable, "-m", "nerfstudio_avatars.cli", "view", "--load-config", str(run), "--no-open-browser"]
    process = subprocess.Popen([*command, "--port", str(free_port())], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield next(line for line in process.stdout if line.startswith("Looking at")).split()[-1]
    finally:
        process.terminate()
        process.wait()


@contextmanager
def ns_viewer(run: Path) -> Iterator[str]:
    """The address of `ns-viewer`, in a process of its own."""
    port = free_port()
    command = [sys.executable, "-m", "nerfstudio.scripts.viewer.run_viewer", "--load-config"]
    command += [str(run / "config.yml" if run.is_dir() else run), "--viewer.websocket-port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not answers(port):
            if process.poll() is not None:
                raise SystemExit("ns-viewer ended before it listened.")
            time.sleep(0.05)
        yield f"http://localhost:{port}"
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
