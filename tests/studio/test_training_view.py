"""The studio beside a training: nerfstudio's own trainer, and a page that says where it looks from."""

import io
import threading
import time
from copy import deepcopy

import msgspec
import numpy as np
import pytest
from PIL import Image
from viser._messages import ViewerCameraMessage
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from nerfstudio_avatars.avatars.run import our_methods
from nerfstudio_avatars.nerfstudio_glue.config_file import read_trainer_config
from nerfstudio_avatars.studio import schedule
from nerfstudio_avatars.studio.viewer import StudioViewer

LOOK = ViewerCameraMessage((0.5**0.5, -(0.5**0.5), 0, 0), (0, -40, 0), 0.6, 1.0, (0, 0, 0), (0, 0, 1))


@pytest.fixture
def trainer(person_config, tmp_path, monkeypatch):
    """Of a small person, before its first step. Each step is shown."""
    monkeypatch.setattr(schedule, "TRAINING_SECONDS", (0.0, 0.1))
    monkeypatch.setattr(schedule, "TRAINING_SHARE", 1e9)
    config = deepcopy(read_trainer_config(person_config, our_methods()))
    config.output_dir, config.vis, config.max_num_iterations = tmp_path, "viewer", 12
    config.viewer.websocket_port, config.viewer.quit_on_train_completion = 7451, True
    trainer = config.setup()
    trainer.setup()
    yield trainer
    trainer.viewer_state.page.stop()


@pytest.mark.slow
def test_a_page_sees_what_the_training_learns(trainer):
    assert isinstance(trainer.viewer_state, StudioViewer)
    pictures = []
    with connect(f"ws://127.0.0.1:{trainer.viewer_state.viser_server.get_port()}", max_size=None) as browser:
        browser.send(msgspec.msgpack.encode(LOOK.as_serializable_dict()))

        def watch():
            try:
                while True:
                    for message in msgspec.msgpack.decode(browser.recv()):
                        if message["type"] == "BackgroundImageMessage":
                            pictures.append(np.asarray(Image.open(io.BytesIO(message["rgb_bytes"])).convert("RGB")))
            except ConnectionClosed:
                return

        threading.Thread(target=watch, daemon=True).start()
        end = time.monotonic() + 60
        while not pictures and time.monotonic() < end:
            time.sleep(0.05)
        before = len(pictures)
        trainer.train()
    # How many depends on what a step costs beside them.
    assert before and len(pictures) > before
    # The last picture may still be drawn.
    end = time.monotonic() + 30
    while not trainer.pipeline.model.training and time.monotonic() < end:
        time.sleep(0.05)
    assert trainer.pipeline.model.training and (trainer.checkpoint_dir / "step-000000011.ckpt").is_file()
    first, last = pictures[before - 1], pictures[-1]
    assert first.shape != last.shape or np.abs(first.astype(int) - last.astype(int)).max() > 8


@pytest.mark.slow
def test_the_page_lets_the_training_rest(trainer):
    panel = trainer.viewer_state.page._training
    panel._set("paused")
    assert trainer.training_state == "paused" and panel._resume.visible
    panel._set("training")
    panel.tell(4)
    trainer.viewer_state.training_complete()
    assert not trainer.viewer_state.page.loop.schedule.training
    assert trainer.training_state == "training" and panel._step.content == "Step 5 of 12"
