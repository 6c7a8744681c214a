// Keys of the viewer's page. Each presses a button of the panel, or opens one of its tabs.
"use strict";

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
