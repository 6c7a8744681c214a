// Pictures and clips of the webcam, for the upload buttons of the viewer's page: viser knows files only.
"use strict";

const SIDE = 384; // pixels of what is kept: the square in the middle
const CLIP_SECONDS = 5;
// What a button of the panel gives, and the upload button that takes it.
const WEBCAM = {
  "Webcam picture": { upload: "Upload picture", give: picture, verb: "Take the picture" },
  "Webcam clip": { upload: "Upload clip", give: clip, verb: `Record ${CLIP_SECONDS} seconds` },
};

document.addEventListener("click", (event) => {
  const button = event.target.closest && event.target.closest("button");
  const wanted = button && WEBCAM[button.textContent.trim()];
  if (wanted) open(wanted);
});

async function open({ upload, give, verb }) {
  if (document.querySelector("#webcam")) return;
  const box = document.createElement("div");
  box.id = "webcam";
  box.style.cssText =
    "position:fixed;left:1em;bottom:1em;z-index:1000;padding:.7em;width:18em;background:#fff;color:#222;" +
    "border-radius:.5em;box-shadow:0 .1em 1em #0006;font:15px sans-serif";
  const told = document.createElement("p");
  told.style.margin = "0 0 .5em";
  told.textContent = "Waiting for the webcam ...";
  const take = action(verb);
  const cancel = action("Close");
  take.disabled = true;
  box.append(told, take, cancel);
  document.body.append(box);

  let stream = null;
  const close = () => {
    for (const track of stream ? stream.getTracks() : []) track.stop();
    box.remove();
  };
  cancel.addEventListener("click", close);
  try {
    if (!navigator.mediaDevices)
      throw new Error("browsers give a webcam only to pages that come from this computer, or by https");
    stream = await navigator.mediaDevices.getUserMedia({ video: true });
    const video = document.createElement("video");
    video.muted = video.playsInline = true;
    video.srcObject = stream;
    await video.play();
    if (!box.isConnected) return close();
    const canvas = follow(video);
    canvas.style.cssText = "width:100%;transform:scaleX(-1);border-radius:.3em";
    box.insertBefore(canvas, take);
    told.textContent = "Face the camera, your head in the square as in the training's pictures.";
    take.disabled = false;
    take.addEventListener("click", async () => {
      take.disabled = true;
      try {
        hand(upload, await give(canvas, (text) => (told.textContent = text)));
        close();
      } catch (error) {
        told.textContent = `Nothing was taken: ${error.message}.`;
      }
    });
  } catch (error) {
    told.textContent = `There is no webcam for this page: ${error.message}.`;
  }
}

function action(text) {
  const button = document.createElement("button");
  button.textContent = text;
  button.style.cssText = "margin:.3em .5em 0 0;padding:.3em .7em";
  return button;
}

// The square in the middle of the video, drawn anew as long as it is shown.
function follow(video) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = SIDE;
  // Without transparency, which the reader of pictures takes for a mask.
  const paper = canvas.getContext("2d", { alpha: false });
  const side = Math.min(video.videoWidth, video.videoHeight);
  const corner = [(video.videoWidth - side) / 2, (video.videoHeight - side) / 2];
  const draw = () => paper.drawImage(video, ...corner, side, side, 0, 0, SIDE, SIDE);
  draw();
  const timer = setInterval(() => (video.srcObject.active ? draw() : clearInterval(timer)), 40);
  return canvas;
}

async function picture(canvas) {
  const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
  return new File([blob], "webcam.png", { type: "image/png" });
}

async function clip(canvas, tell) {
  const recorder = new MediaRecorder(canvas.captureStream(25), { videoBitsPerSecond: 4e6 });
  const parts = [];
  recorder.ondataavailable = (event) => parts.push(event.data);
  const stopped = new Promise((done) => (recorder.onstop = done));
  recorder.start();
  for (let left = CLIP_SECONDS; left > 0; left -= 1) {
    tell(`Move your head, speak, ... ${left}`);
    await new Promise((done) => setTimeout(done, 1000));
  }
  recorder.stop();
  await stopped;
  const kind = recorder.mimeType.startsWith("video/mp4") ? "mp4" : "webm";
  return new File(parts, `webcam.${kind}`, { type: recorder.mimeType });
}

// Gives a file to an upload button as if it had been chosen there.
function hand(label, file) {
  const inputs = [...document.querySelectorAll("input[type=file]")];
  const input = inputs.find((one) => one.parentElement.textContent.trim() === label);
  if (!input) throw new Error(`the button "${label}" is not open`);
  const files = new DataTransfer();
  files.items.add(file);
  input.files = files.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
}
