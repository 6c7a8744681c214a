"""What the page's own script does with bones: it is run by Node.js, with a browser that consists of a clock."""

import json

import numpy as np
import pytest
from node import node
from scipy.spatial.transform import Rotation, Slerp

from nerfstudio_avatars.nerfstudio_glue.viewer_page import answer

BROWSER = """
const vm = require("vm");
let now = 10000, frames = [];
const window = new EventTarget(), document = new EventTarget();
Object.assign(window, {
  requestAnimationFrame: (callback) => frames.push(callback), cancelAnimationFrame() {},
  matchMedia: () => ({ matches: false }), Worker: class extends EventTarget {},
});
vm.runInNewContext(process.argv[1], {
  window, document, MessageEvent, Map, Set, Math, setInterval() {}, setTimeout() {}, performance: { now: () => now },
});
const worker = new window.Worker(), sorter = new window.Worker(), shown = [];
sorter.addEventListener("message", ({ data }) => { if (data.messages) throw Error("this one sorts splats"); });
worker.addEventListener("message", ({ data }) => shown.push(...(data.messages || []).map((one) => ({ now, ...one }))));
const heard = (data) => worker.dispatchEvent(new MessageEvent("message", { data }));
const bone = (type, value) => ({ type: `SetBone${type}Message`, name: "/overlay/0", bone_index: 3, ...value });
const draw = () => {
  window.requestAnimationFrame(() => {});
  for (const callback of frames.splice(0)) callback(now);
};
for (const [at, messages] of JSON.parse(process.argv[2])) {
  now = 10000 + at;
  sorter.dispatchEvent(new MessageEvent("message", { data: { sorted: [] } }));
  if (messages === null) draw();
  else if (messages === "closed") heard({ type: "closed" });
  else heard({ type: "message_batch", messages: messages.map((one) => (one.wxyz ? bone("Orientation", one)
    : one.position ? bone("Position", one) : one)) });
}
console.log(JSON.stringify(shown));
"""


@pytest.fixture
def shown():
    """What viser's page hears, when things happen at given milliseconds: messages come, or (None) a frame is drawn."""
    script = answer("/studio.js", "localhost")[1].decode()
    return lambda *events: json.loads(node("-e", BROWSER, script, json.dumps(events)))


def test_bones_go_evenly_from_where_they_were_to_where_they_are_told(shown):
    turns = Rotation.from_euler("xyz", [[10, 20, 30], [20, 35, 20]], degrees=True)
    first, last = (np.roll(turn.as_quat(), 1) for turn in turns)
    places = np.array([[1.0, 2.0, 3.0], [1.3, 2.0, 2.0]])
    found = shown(
        (0, [{"wxyz": first.tolist()}, {"position": places[0].tolist()}]),
        (5, None),
        # The other sign of a quaternion is the same turn.
        (40, [{"wxyz": (-last).tolist()}, {"position": places[1].tolist()}]),
        *((at, None) for at in (50, 60, 70, 80, 90)),
    )
    between = Slerp([40, 80], turns)
    told = [one for one in found if one["now"] != 10005]
    assert [one["now"] - 10000 for one in told[::2]] == [50, 60, 70, 80], "then it is there, and nothing is said"
    for one in told:
        at, share = one["now"] - 10000, (one["now"] - 10040) / 40
        assert (one["name"], one["bone_index"]) == ("/overlay/0", 3)
        if one["type"] == "SetBonePositionMessage":
            assert np.allclose(one["position"], places[0] + share * (places[1] - places[0]))
        else:
            turned = Rotation.from_quat(np.roll(one["wxyz"], -1))
            assert np.isclose(np.linalg.norm(one["wxyz"]), 1)
            assert (turned.inv() * between(at)).magnitude() < 1e-3


def test_one_that_is_told_on_its_way_goes_on_from_where_it_is(shown):
    x = [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [2.0, 0.0, 0.0]]
    found = shown(
        (0, [{"position": x[0]}]),
        (40, [{"position": x[1]}]),
        (60, [{"position": x[2]}]),
        (70, None),
        (80, None),
    )
    assert [one["position"][0] for one in found] == pytest.approx([1.25, 2.0])


def test_what_is_told_after_a_rest_is_shown_at_once(shown):
    found = shown((0, [{"position": [0, 0, 0]}]), (1, None), (300, [{"position": [1, 0, 0]}]), (301, None))
    assert [one["position"][0] for one in found] == [0, 1]


def test_bones_of_a_mesh_that_has_gone_are_forgotten(shown):
    gone = {"type": "RemoveSceneNodeMessage", "name": "/overlay/0"}
    assert shown((0, [{"position": [0, 0, 0]}, gone]), (1, None)) == [{"now": 10000, **gone}]
    again = {"type": "SkinnedMeshMessage", "name": "/overlay/0"}
    found = shown((0, [{"position": [0, 0, 0]}]), (40, [again, {"position": [4, 0, 0]}]), (50, None))
    assert [one["position"][0] for one in found if "position" in one] == [4], "a new mesh has been nowhere before"
    assert shown((0, [{"position": [0, 0, 0]}]), (1, "closed"), (2, None)) == []


def test_other_messages_pass_at_once_and_in_their_order(shown):
    others = [{"type": "GuiUpdateMessage", "n": 1}, {"type": "BackgroundImageMessage", "n": 2}]
    found = shown((0, [others[0], {"position": [0, 0, 0]}, others[1]]))
    assert found == [{"now": 10000, **one} for one in others]
