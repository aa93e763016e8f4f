"use strict";
const view = document.getElementById("view");
const picture = view.querySelector("svg");
const detail = document.getElementById("detail");
const marked = [...document.querySelectorAll("[data-marks]")];
const nodes = [...picture.querySelectorAll(".node")];

// ---- Which paths are marked

function choose(element) {
  const again = element === null || element.getAttribute("aria-pressed") === "true";
  const wanted = again ? [] : marksOf(element);
  for (const other of marked) {
    other.classList.toggle("on", other.dataset.marks.split(" ").some((mark) => wanted.includes(mark)));
    if (other.hasAttribute("aria-pressed")) other.setAttribute("aria-pressed", String(!again && other === element));
  }
  picture.classList.toggle("chosen", wanted.length > 0);
}

// A passage that was found stands for the paths to it, any other node for those through it.
function marksOf(element) {
  if (element.dataset.hit) return [element.dataset.hit];
  const marks = element.dataset.marks.split(" ");
  return element.classList.contains("node") ? marks.filter((mark) => mark.startsWith("p")) : marks;
}

function act(element) {
  choose(element);
  if (!picture.contains(element)) fit(nodes.filter((node) => node.classList.contains("on")));
}

for (const element of marked.filter((each) => !each.classList.contains("edge"))) {
  element.setAttribute("role", "button");
  element.setAttribute("tabindex", "0");
  element.setAttribute("aria-pressed", "false");
  element.addEventListener("click", () => { if (!dragged) act(element); });
  element.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      act(element);
    }
  });
}

// ---- What a node or an edge is: the titles of the picture, shown at once and to the keyboard, too

for (const element of picture.querySelectorAll(".node, .edge")) {
  const title = element.querySelector("title");
  const text = title.textContent;
  title.remove();
  if (element.classList.contains("node")) element.setAttribute("aria-label", text);
  for (const event of ["pointerenter", "focus"]) element.addEventListener(event, () => { detail.textContent = text; });
  for (const event of ["pointerleave", "blur"]) element.addEventListener(event, () => { detail.textContent = ""; });
}

// ---- Moving the picture

const { width, height } = picture.viewBox.baseVal;
const margin = 30;
let scale = 1; // pixels of the screen for one of the picture
let corner = { x: 0, y: 0 }; // of what is shown of it
let dragged = false;

function show() {
  const { clientWidth, clientHeight } = picture;
  picture.setAttribute("viewBox", `${corner.x} ${corner.y} ${clientWidth / scale} ${clientHeight / scale}`);
}

function move(right, down) {
  corner = { x: corner.x + right / scale, y: corner.y + down / scale };
  show();
}

// What is at this place on the screen stays there.
function zoom(factor, x = picture.clientWidth / 2, y = picture.clientHeight / 2) {
  const next = Math.min(Math.max(scale * factor, 0.05), 8);
  corner = { x: corner.x + x / scale - x / next, y: corner.y + y / scale - y / next };
  scale = next;
  show();
}

// As large as there is room for these nodes, or for the whole picture.
function fit(some = []) {
  const { clientWidth, clientHeight } = picture;
  const boxes = some.map((node) => node.getBBox());
  const left = Math.min(...boxes.map((box) => box.x - margin));
  const top = Math.min(...boxes.map((box) => box.y - margin));
  const right = Math.max(...boxes.map((box) => box.x + box.width + margin));
  const bottom = Math.max(...boxes.map((box) => box.y + box.height + margin));
  const [x, y, w, h] = boxes.length ? [left, top, right - left, bottom - top] : [0, 0, width, height];
  scale = Math.min(clientWidth / w, clientHeight / h, 1.2);
  corner = { x: x + (w - clientWidth / scale) / 2, y: y + (h - clientHeight / scale) / 2 };
  show();
}

picture.addEventListener("wheel", (event) => {
  event.preventDefault();
  const { left, top } = picture.getBoundingClientRect();
  zoom(Math.exp(-event.deltaY / 400), event.clientX - left, event.clientY - top);
}, { passive: false });

let grip = null;
picture.addEventListener("pointerdown", (event) => { grip = { x: event.clientX, y: event.clientY }; });
window.addEventListener("pointerdown", () => { dragged = false; }, { capture: true });
window.addEventListener("pointermove", (event) => {
  if (!grip) return;
  const right = grip.x - event.clientX;
  const down = grip.y - event.clientY;
  if (!dragged && Math.hypot(right, down) < 5) return; // a click with an unsteady hand
  dragged = true;
  grip = { x: event.clientX, y: event.clientY };
  move(right, down);
});
for (const event of ["pointerup", "pointercancel"]) window.addEventListener(event, () => { grip = null; });
picture.addEventListener("click", (event) => {
  if (!dragged && !event.target.closest(".node")) choose(null);
});

for (const button of view.querySelectorAll("[data-zoom]")) {
  const factor = Number(button.dataset.zoom);
  button.addEventListener("click", () => (factor ? zoom(factor) : fit()));
}

const keys = {
  "+": () => zoom(1.25),
  "=": () => zoom(1.25),
  "-": () => zoom(0.8),
  0: () => fit(),
  ArrowLeft: () => move(-60, 0),
  ArrowRight: () => move(60, 0),
  ArrowUp: () => move(0, -60),
  ArrowDown: () => move(0, 60),
};
picture.setAttribute("tabindex", "0");
picture.setAttribute("aria-label", "Picture of the walk");
picture.addEventListener("keydown", (event) => {
  const act = !event.ctrlKey && !event.metaKey && !event.altKey && keys[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
window.addEventListener("resize", () => fit());
fit();
window.addEventListener("keydown", (event) => { if (event.key === "Escape") choose(null); });
