"""One user of a model at a time; long work gives way to pictures, and never to a training."""

import threading
import time

import torch

from nerfstudio_avatars.studio.shared_model import SharedModel


def waiting_for(shared):
    """Somebody who waits for the model, and an event that is set once they had it."""
    had = threading.Event()

    def wait():
        with shared.lock:
            had.set()

    threading.Thread(target=wait, daemon=True).start()
    time.sleep(0.05)
    return had


def test_it_is_out_of_training_while_it_is_used_and_as_before_afterwards():
    model = torch.nn.Dropout()
    for training in (True, False):
        model.train(training)
        with SharedModel(model).using():
            assert not model.training and not torch.is_grad_enabled()
        assert model.training is training and torch.is_grad_enabled()


def test_long_work_gives_way_to_pictures_and_not_to_a_training():
    shared = SharedModel(torch.nn.Dropout())
    with shared.using():
        had = waiting_for(shared)
        shared.training = True
        shared.give_way()
        assert not had.is_set()
        shared.training = False
        end = time.monotonic() + 20
        while not had.is_set() and time.monotonic() < end:
            shared.give_way()
        assert had.is_set() and not shared.lock.acquire(blocking=False)
    assert shared.lock.acquire(blocking=False)
