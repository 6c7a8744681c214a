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

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, [contenteditable=true]");
  if (typing || event.altKey || event.repeat) return;
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
  if (done) event.preventDefault();
});
