// What the viewer's page has besides viser's own: it rests when nothing happens, moves bones smoothly, and has keys.
// Runs before viser's.
"use strict";

// viser draws its scene sixty times a second although nothing moves, which without a graphics card takes a whole core
// and more from whoever trains or renders on the same computer. Frames are granted while somebody touches the page or
// the server changes the scene, and for a moment after each new picture; otherwise every two seconds.
const AFTER_CHANGE = 1000; // milliseconds; the camera glides to a rest
const AFTER_PICTURE = [30, 120, 400]; // a frame at each: the picture is unpacked meanwhile, on a slow computer late
const AT_REST = 2000;
const PICTURES = /^(BackgroundImage|GuiUpdate)/; // what comes all the time, and moves no camera
const PANEL = /^GuiUpdate/; // and what the browser shows without a frame of ours

const nextFrame = window.requestAnimationFrame.bind(window);
const cancelFrame = window.cancelAnimationFrame.bind(window);
const resting = new Map(); // callbacks that wait, by number
const granted = new Map(); // the browser's own number of those that do not
let frames = 0;
let moved = 0; // time of the frame in which bones were moved last
let awakeUntil = performance.now() + 5000;
const down = new Set(); // keys and pointers that are held

function grant(number, callback) {
  const run = (now) => {
    granted.delete(number);
    if (now !== moved) moveBones();
    moved = now;
    callback(now);
  };
  granted.set(number, nextFrame(run));
}

function grantAll() {
  const waiting = [...resting];
  resting.clear();
  for (const [number, callback] of waiting) grant(number, callback);
}

function wake(milliseconds) {
  awakeUntil = Math.max(awakeUntil, performance.now() + milliseconds);
  grantAll();
}

window.requestAnimationFrame = (callback) => {
  frames += 1;
  if (down.size > 0 || performance.now() < awakeUntil) grant(frames, callback);
  else resting.set(frames, callback);
  return frames;
};

window.cancelAnimationFrame = (number) => {
  resting.delete(number);
  if (granted.has(number)) cancelFrame(granted.get(number));
  granted.delete(number);
};

setInterval(grantAll, AT_REST);

for (const kind of ["pointermove", "wheel", "touchmove", "resize", "focus", "input", "change"])
  window.addEventListener(kind, () => wake(AFTER_CHANGE), { capture: true, passive: true });

for (const [press, release, name] of [
  ["pointerdown", "pointerup", (event) => event.pointerId],
  ["pointerdown", "pointercancel", (event) => event.pointerId],
  ["keydown", "keyup", (event) => event.code],
]) {
  window.addEventListener(press, (event) => (down.add(name(event)), wake(AFTER_CHANGE)), true);
  window.addEventListener(release, (event) => (down.delete(name(event)), wake(AFTER_CHANGE)), true);
}
window.addEventListener("blur", () => down.clear());

// While somebody moves, the server tells where their bones are thirty times a second, and less when it is busy. Every
// frame shows them on the way there, which takes as long as they had been told before.
const AT_ONCE = 200; // milliseconds; bones that were told longer ago jump
const PLACES = { SetBoneOrientationMessage: "wxyz", SetBonePositionMessage: "position" };
const GONE = /^(RemoveSceneNode|SkinnedMesh)/;
const bones = new Map(); // the way of each place of each bone: message, from, begin, length, done

function onTheWay({ message, from, begin, length }, now) {
  const to = message[PLACES[message.type]];
  const share = length > 0 ? Math.min(Math.max((now - begin) / length, 0), 1) : 1;
  // A quaternion and its negative are one turn: the nearer is meant.
  const sign = to.length === 4 && to.reduce((sum, value, i) => sum + value * from[i], 0) < 0 ? -1 : 1;
  const mixed = to.map((value, i) => from[i] + share * (sign * value - from[i]));
  const size = to.length === 4 ? Math.hypot(...mixed) : 1;
  return mixed.map((value) => value / size);
}

function tellBone(message) {
  const now = performance.now();
  const key = `${message.name} ${message.bone_index} ${message.type}`;
  const before = bones.get(key);
  const length = before && now - before.begin < AT_ONCE ? now - before.begin : 0;
  const from = length > 0 ? onTheWay(before, now) : message[PLACES[message.type]];
  bones.set(key, { message, from, begin: now, length, done: false });
}

function forgetBones(name) {
  for (const [key, { message }] of bones) if (message.name === name) bones.delete(key);
}

function moveBones() {
  const now = performance.now();
  const messages = [];
  for (const bone of bones.values()) {
    if (bone.done) continue;
    messages.push({ ...bone.message, [PLACES[bone.message.type]]: onTheWay(bone, now) });
    bone.done = now >= bone.begin + bone.length;
  }
  if (messages.length > 0)
    heard.dispatchEvent(new MessageEvent("message", { data: { type: "message_batch", onTheWay: true, messages } }));
}

// viser hears its server in a worker, and has others for itself.
let heard; // that worker
window.Worker = class extends window.Worker {
  constructor(...given) {
    super(...given);
    this.addEventListener("message", ({ data }) => {
      if (data.type === "connected" || data.type === "closed") bones.clear();
      if (data.type !== "message_batch" || data.onTheWay) return; // or it is from ourselves
      heard = this;
      for (const message of data.messages) {
        if (message.type in PLACES) tellBone(message);
        else if (GONE.test(message.type)) forgetBones(message.name);
      }
      const others = data.messages.filter(({ type }) => !(type in PLACES));
      if (others.length < data.messages.length) wake(AT_ONCE);
      data.messages = others; // viser hears after us
      if (!others.every(({ type }) => PICTURES.test(type))) wake(AFTER_CHANGE);
      else if (!others.every(({ type }) => PANEL.test(type)))
        for (const wait of AFTER_PICTURE) setTimeout(grantAll, wait);
    });
  }
};

// Keys. Each presses a button of the panel, or opens one of its tabs.

const BUTTONS = {
  " ": ["Pause", "Play"],
  ",": ["Previous"],
  ".": ["Next"],
  Home: ["Front view"],
};

function press(labels) {
  const buttons = [...document.querySelectorAll("button")];
  for (const label of labels) {
    const button = buttons.find((one) => one.textContent.trim() === label);
    if (button) {
      button.click();
      return true;
    }
  }
  return false;
}

// On a phone the panel lies over the picture, so it begins folded. Its title is all that tells viser's element.
const TITLE = "[style*='cursor: pointer'][style*='height: 3.5em']";
if (window.matchMedia("(max-width: 40em)").matches) {
  const waiting = new MutationObserver(() => {
    const title = document.querySelector(TITLE);
    if (title) {
      waiting.disconnect();
      title.click();
    }
  });
  waiting.observe(document.documentElement, { childList: true, subtree: true });
}

// What was clicked keeps the focus, but only who came to it by the tabulator means it when they press a key.
let tabbed = false;
document.addEventListener("pointerdown", () => (tabbed = false), true);

function meant(target) {
  if (target.matches("input[type=checkbox], button, [role=tab]")) return tabbed;
  // A dropdown that is closed has been chosen from.
  if (target.matches("input[aria-haspopup=listbox]")) return target.getAttribute("aria-expanded") === "true";
  return target.closest("input, textarea, select, [contenteditable=true]") !== null;
}

// A button is pressed when the space bar is let go.
let held = false;
document.addEventListener(
  "keyup",
  (event) => {
    if (event.key === "Tab") tabbed = true;
    if (event.key === " " && held) event.preventDefault();
    held = false;
  },
  true,
);

document.addEventListener("keydown", (event) => {
  if (event.key === " " && held) event.preventDefault();
  if (meant(event.target) || event.altKey || event.repeat) return;
  let done = false;
  if (event.ctrlKey || event.metaKey) {
    if (event.key.toLowerCase() === "z") done = press([event.shiftKey ? "Redo" : "Undo"]);
  } else if (event.key in BUTTONS) {
    done = press(BUTTONS[event.key]);
  } else if (/^[1-9]$/.test(event.key)) {
    const tab = document.querySelectorAll("[role=tab]")[Number(event.key) - 1];
    if (tab) {
      tab.click();
      done = true;
    }
  }
  if (done) {
    event.preventDefault();
    held = event.key === " ";
  }
});
