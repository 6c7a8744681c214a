"""What it takes to start: CPU seconds and wall seconds of commands that show a finished avatar.

    python benchmarks/startup.py [--runs outputs/startup] [--repeat 3]

Draws a small person and trains it for a few steps, once; then starts each command in a process of its own and prints
JSON. `ns-viewer` is ended as soon as it listens, `ns-render camera-path` and `ns-avatar animate` draw one frame each.
The least of the repeats is given: whatever else the machine does only adds to it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

SIZE, FRAMES, STEPS = 256, 24, 20


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("outputs/startup"), help="folder for the data and the run")
    parser.add_argument("--repeat", type=int, default=3, help="number of starts of each command")
    options = parser.parse_args()
    config = trained_run(options.runs)
    camera_path = options.runs / "camera.json"
    camera_path.write_text(json.dumps(one_camera()), "utf8")
    commands = {
        "ns-viewer": (["-m", "nerfstudio.scripts.viewer.run_viewer", "--load-config", str(config)], True),
        "ns-render camera-path": (
            ["-m", "nerfstudio.scripts.render", "camera-path", "--load-config", str(config)]
            + ["--camera-path-filename", str(camera_path), "--output-path", str(options.runs / "render")]
            + ["--output-format", "images"],
            False,
        ),
        "ns-avatar animate": (
            ["-m", "nerfstudio_avatars.cli", "animate", "--load-config", str(config), "--output"]
            + [str(options.runs / "animate"), "--seconds", "0.04", "--height", "64", "--width", "64"],
            False,
        ),
    }
    found = {"machine": f"{platform.machine()}, {os.cpu_count()} cores"}
    for name, (arguments, listens) in commands.items():
        starts = [start(arguments, listens) for _ in range(options.repeat)]
        found[name] = {key: round(min(one[key] for one in starts), 2) for key in ("cpu_seconds", "wall_seconds")}
    print(json.dumps(found, indent=2))


def trained_run(folder: Path) -> Path:
    """The config.yml of a run that was hardly trained."""
    config = folder / "runs" / "person" / "instant-avatar-cpu" / "run" / "config.yml"
    if not config.is_file():
        from nerfstudio_avatars.demo import draw_demo_sequence

        data = folder / "person"
        if not data.is_dir():
            draw_demo_sequence(data, size=SIZE, frames=FRAMES)
        arguments = ["instant-avatar-cpu", "--data", str(data), "--output-dir", str(folder / "runs")]
        arguments += ["--experiment-name", "person", "--timestamp", "run", "--max-num-iterations", str(STEPS)]
        arguments += ["--vis", "tensorboard", "--steps-per-eval-image", "0"]
        subprocess.run([sys.executable, "-m", "nerfstudio.scripts.train", *arguments], check=True, stdout=sys.stderr)
    return config


def one_camera() -> dict:
    """A camera path of one frame, as nerfstudio's viewer writes it."""
    matrix = [-1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 4.5, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    camera = {"camera_to_world": matrix, "fov": 40, "aspect": 1}
    return {
        "camera_type": "perspective",
        "render_height": 64,
        "render_width": 64,
        "seconds": 1,
        "camera_path": [camera],
    }


def start(arguments: list[str], listens: bool) -> dict[str, float]:
    """Runs a command to its end, or until it listens on the port it is given.

    Returns:
        `cpu_seconds`: user and system time; `wall_seconds`.
    """
    port = free_port()
    more = ["--viewer.websocket-port", str(port)] if listens else []
    begin = time.perf_counter()
    output = subprocess.DEVNULL
    process = subprocess.Popen([sys.executable, *arguments, *more], stdout=output, stderr=output)
    if listens:
        while not answers(port):
            if process.poll() is not None:
                raise SystemExit(f"{' '.join(arguments)} ended with code {process.returncode} before it listened.")
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    _, status, usage = os.wait4(process.pid, 0)
    if not listens and status:
        raise SystemExit(f"{' '.join(arguments)} failed.")
    return {"cpu_seconds": usage.ru_utime + usage.ru_stime, "wall_seconds": time.perf_counter() - begin}


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def answers(port: int) -> bool:
    """Whether somebody listens on a port of this computer."""
    with socket.socket() as one:
        one.settimeout(1)
        return one.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    main()
