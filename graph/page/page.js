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

for (const element of marked.filter((each) => !each.classList.contains("edge"))) {
  element.setAttribute("role", "button");
  element.setAttribute("tabindex", "0");
  element.setAttribute("aria-pressed", "false");
  element.addEventListener("click", () => { if (!dragged) choose(element); });
  element.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      choose(element);
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

const whole = picture.viewBox.baseVal;
const all = { x: whole.x, y: whole.y, width: whole.width, height: whole.height };
let box = { ...all };
let dragged = false;

function show() {
  picture.setAttribute("viewBox", `${box.x} ${box.y} ${box.width} ${box.height}`);
}

function zoom(factor, at = { x: box.x + box.width / 2, y: box.y + box.height / 2 }) {
  const scale = Math.min(Math.max(factor, box.width / (20 * all.width)), (50 * box.width) / all.width);
  box = {
    x: at.x - (at.x - box.x) / scale,
    y: at.y - (at.y - box.y) / scale,
    width: box.width / scale,
    height: box.height / scale,
  };
  show();
}

function fit() {
  box = { ...all };
  show();
}

function place(event) {
  return new DOMPoint(event.clientX, event.clientY).matrixTransform(picture.getScreenCTM().inverse());
}

picture.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoom(Math.exp(-event.deltaY / 400), place(event));
}, { passive: false });

let grip = null;
picture.addEventListener("pointerdown", (event) => {
  grip = { x: event.clientX, y: event.clientY, start: place(event) };
  dragged = false;
});
window.addEventListener("pointermove", (event) => {
  if (!grip) return;
  dragged ||= Math.hypot(event.clientX - grip.x, event.clientY - grip.y) > 4;
  if (!dragged) return;
  const now = place(event);
  box.x += grip.start.x - now.x;
  box.y += grip.start.y - now.y;
  show();
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
  0: fit,
  ArrowLeft: () => { box.x -= box.width / 12; show(); },
  ArrowRight: () => { box.x += box.width / 12; show(); },
  ArrowUp: () => { box.y -= box.height / 12; show(); },
  ArrowDown: () => { box.y += box.height / 12; show(); },
};
picture.setAttribute("tabindex", "0");
picture.setAttribute("aria-label", "Picture of the walk");
picture.addEventListener("keydown", (event) => {
  const move = !event.ctrlKey && !event.metaKey && !event.altKey && keys[event.key];
  if (!move) return;
  event.preventDefault();
  move();
});
window.addEventListener("keydown", (event) => { if (event.key === "Escape") choose(null); });
