"""What the viewer's controls say, without a viewer."""

import math

import pytest
import torch

from nerfstudio_avatars.unsup_volanim.viewer_controls import (
    AS_DRIVEN,
    BY_CAMERA,
    LISTED,
    RANDOM_IDENTITIES,
    AnimationControls,
)


@pytest.fixture
def controls():
    return AnimationControls(["anna", "bert"], ["walk", "talk", "nod"], parts=3)


def set_to(element, value):
    """As the viewer does when somebody moves it."""
    element.gui_handle = type("Handle", (), {"value": value})()


def test_untouched_they_leave_everything_to_the_camera(controls):
    assert controls.identity_number() is None and controls.driving() is None
    assert controls.yaw_radians() == 0 and controls.visible_parts() is None


def test_names_become_numbers_and_degrees_radians(controls):
    set_to(controls.identity, "bert")
    set_to(controls.clip, "nod")
    set_to(controls.yaw, 30.0)
    assert controls.identity_number() == 1 and controls.driving() == 2
    assert controls.yaw_radians() == pytest.approx(math.pi / 6)


def test_people_who_do_not_exist_have_numbers(controls):
    assert controls.random_number() is None
    set_to(controls.identity, RANDOM_IDENTITIES[2])
    assert controls.random_number() == 3 and controls.identity_number() is None
    named_so = AnimationControls([RANDOM_IDENTITIES[0]], [], parts=1)
    set_to(named_so.identity, RANDOM_IDENTITIES[0])
    assert named_so.random_number() is None and named_so.identity_number() == 0


def test_hidden_parts_are_zeros(controls):
    set_to(controls.part_1, False)
    assert torch.equal(controls.visible_parts(), torch.tensor([1.0, 0.0, 1.0]))


def test_one_part_cannot_be_hidden():
    single = AnimationControls(["anna"], ["walk"], parts=1)
    assert not hasattr(single, "part_0") and single.visible_parts() is None


def test_of_very_many_names_the_first_are_listed():
    names = [f"id{number}" for number in range(LISTED + 100)]
    many = AnimationControls(names, names, parts=1)
    assert many.identity.options == [AS_DRIVEN, *names[:LISTED], *RANDOM_IDENTITIES]
    assert many.clip.options == [BY_CAMERA, *names[:LISTED]]


def test_nerfstudio_finds_them_all(controls):
    from nerfstudio.viewer.utils import parse_object
    from nerfstudio.viewer.viewer_elements import ViewerElement

    found = {path for path, _ in parse_object(controls, ViewerElement, "controls")}
    assert found == {f"controls/{name}" for name in ("identity", "clip", "yaw", "part_0", "part_1", "part_2")}


def test_they_are_no_part_of_a_checkpoint(controls):
    assert not controls.state_dict() and not list(controls.parameters())
