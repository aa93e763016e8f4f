"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const { variants, sets, questions, passages, baseline, metric, metricName } = data;
const form = document.getElementById("filter");
const list = document.getElementById("list");
const pages = document.getElementById("pages");
const count = document.getElementById("count");
const PER_PAGE = 25; // questions that are drawn at a time

// Everything that comes from outside becomes text here, and nothing else.
function make(tag, { text, className, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// ---- Which questions are shown

const right = (answer) => answer?.em === 1;
const known = (question) => question.answers.some((answer) => answer !== null && answer.em !== null);
const value = (question, variant) => question.answers[variant]?.[metric] ?? 0;
const gain = (question, variant) => value(question, variant) - value(question, baseline);

const SHOW = {
  all: ["all questions", () => true],
  differ: ["variants differ (EM)", (q) => known(q) && new Set(q.answers.filter(Boolean).map(right)).size > 1],
  won: ["variant right, baseline wrong", (q, v) => right(q.answers[v]) && !right(q.answers[baseline])],
  lost: ["baseline right, variant wrong", (q, v) => !right(q.answers[v]) && right(q.answers[baseline])],
  alone: ["only the variant right", (q, v) => q.answers.every((answer, place) => right(answer) === (place === v))],
  nobody: ["none right", (q) => known(q) && !q.answers.some(right)],
  everybody: ["all right", (q) => q.answers.every(right)],
  abstained: ["variant abstained", (q, v) => Boolean(q.answers[v]?.abstained)],
  failed: ["variant failed", (q, v) => q.answers[v]?.failed !== undefined],
};
const ORDER = {
  asked: ["as asked", () => 0],
  better: ["variant better first", (a, b, v) => gain(b, v) - gain(a, v)],
  worse: ["variant worse first", (a, b, v) => gain(a, v) - gain(b, v)],
  dearer: ["most tokens of the variant first", (a, b, v) => (b.answers[v]?.tokens ?? 0) - (a.answers[v]?.tokens ?? 0)],
};

function select(name, label, options) {
  const field = make("select", { name }, ...options.map(([key, text]) => make("option", { value: key, text })));
  form.append(make("label", { text: label }, field));
  return field;
}

const words = make("input", { type: "search", name: "words", autocomplete: "off" });
form.append(make("label", { text: "Words in question or answers" }, words));
const show = select("show", "Show", Object.entries(SHOW).map(([key, [text]]) => [key, text]));
const chosen = select("variant", "Variant", variants.map((name, place) => [place, name]));
chosen.value = String(variants.length > 1 && baseline === 0 ? 1 : 0);
const order = select("order", `Order (${metricName} against ${variants[baseline]})`,
  Object.entries(ORDER).map(([key, [text]]) => [key, text]));
const set = select("set", "Set", [["", "all sets"], ...sets.map((name, place) => [place, name])]);
set.parentElement.hidden = sets.length < 2;

const searched = questions.map(() => null); // lower-case text, made when it is first looked for
function holds(place, wanted) {
  const { text, gold, id, answers } = questions[place];
  searched[place] ??= [text, id, ...gold, ...answers.map((answer) => answer?.text ?? "")].join("\n").toLowerCase();
  return wanted.every((word) => searched[place].includes(word));
}

let found = [];
let first = 0;

function filter() {
  const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
  const variant = Number(chosen.value);
  const keeps = SHOW[show.value][1];
  const compare = ORDER[order.value][1];
  found = [...questions.keys()].filter((place) => {
    const question = questions[place];
    return (set.value === "" || question.set === Number(set.value)) && keeps(question, variant) && holds(place, wanted);
  });
  found.sort((a, b) => compare(questions[a], questions[b], variant));
  turn(0);
}

function turn(to) {
  first = to;
  const shown = found.slice(first, first + PER_PAGE);
  list.replaceChildren(...shown.map((place) => row(questions[place])));
  const range = shown.length ? `${first + 1} to ${first + shown.length} of ${found.length}` : "none";
  count.textContent = `Shown: ${range}, of ${questions.length} questions`;
  earlier.disabled = first === 0;
  later.disabled = first + PER_PAGE >= found.length;
}

function pager(text, step) {
  const button = make("button", { type: "button", text });
  button.addEventListener("click", () => {
    turn(first + step * PER_PAGE);
    list.querySelector("summary")?.focus();
  });
  pages.append(button);
  return button;
}

const earlier = pager("Earlier", -1);
const later = pager("Later", 1);
form.addEventListener("input", filter);
form.addEventListener("submit", (event) => event.preventDefault());

// ---- A question

function verdict(answer) {
  if (!answer) return ["none", "–", "not answered"];
  if (answer.failed !== undefined) return ["wrong", "!", "failed"];
  if (answer.em === null) return answer.abstained ? ["none", "○", "abstained"] : ["none", "·", "no gold answer"];
  if (answer.em === 1) return ["right", "✓", "right"];
  if (answer.abstained) return ["wrong", "○", "abstained"];
  return ["wrong", "✗", answer.f1 > 0 ? "partly right" : "wrong"];
}

function row(question) {
  const chips = make("span", { className: "chips" });
  question.answers.forEach((answer, place) => {
    const [className, mark, meaning] = verdict(answer);
    const chip = make("span", { className, title: `${variants[place]}: ${meaning}` });
    chip.append(make("span", { text: mark, "aria-hidden": "true" }), ` ${variants[place]}`);
    chip.setAttribute("aria-label", `${variants[place]}: ${meaning}`);
    chip.setAttribute("role", "img");
    chips.append(chip);
  });
  const summary = make("summary", {}, make("bdi", { text: question.text }), chips);
  const details = make("details", { className: "question" }, summary);
  drawnWhenOpened(details, () => [body(question)]);
  return details;
}

function drawnWhenOpened(details, draw) {
  details.addEventListener("toggle", () => {
    if (details.open && !details.dataset.drawn) {
      details.dataset.drawn = "yes";
      details.append(...draw());
    }
  });
}

function body(question) {
  const asked = [`${sets[question.set]}, ${question.id}`];
  if (question.gold.length) asked.push(`expected: ${question.gold.join("; ")}`);
  if (question.needs !== null) asked.push(`needs ${question.needs} passage${question.needs > 1 ? "s" : ""}`);
  const answers = make("div", { className: "answers" }, ...question.answers.map(article));
  return make("div", { className: "body" }, make("p", { className: "asked", text: asked.join(" · ") }), answers);
}

function article(answer, place) {
  const [className, mark, meaning] = verdict(answer);
  const head = make("h3", {}, make("span", { text: variants[place] }),
    make("span", { className, text: `${mark} ${meaning}` }));
  const element = make("article", {}, head);
  if (!answer) return element;
  if (answer.failed !== undefined) element.append(make("p", { text: answer.failed }));
  else element.append(make("p", { className: "answer" }, make("bdi", { text: answer.text })));
  element.append(make("p", { className: "facts", text: facts(answer) }));
  if (answer.citations?.length) element.append(citations(answer));
  if (answer.passages?.length) element.append(section(`${answer.passages.length} passages read`, () => [read(answer)]));
  if (answer.paths) element.append(section("Paths in the graph", () => [ways(answer.paths)]));
  if (answer.spans?.length) element.append(section("Trace", () => [timeline(answer.spans)]));
  return element;
}

function facts(answer) {
  const some = [];
  if (answer.em !== null) some.push(`EM ${answer.em}`, `F1 ${answer.f1.toFixed(2)}`);
  if (answer.recall !== undefined) some.push(`recall ${answer.recall.toFixed(2)}`);
  const kept = answer.kept ? ` (${answer.kept} kept)` : answer.unknown ? " (and kept replies, not counted)" : "";
  some.push(`${answer.tokens} tokens${kept}`, `${answer.calls} call${answer.calls === 1 ? "" : "s"}`);
  some.push(`${answer.seconds.toFixed(2)} s`, answer.cost === null ? "price unknown" : `$${answer.cost.toFixed(5)}`);
  if (answer.gate) some.push(`gate: ${answer.gate}${answer.score === undefined ? "" : ` (${answer.score.toFixed(3)})`}`);
  return some.join(" · ");
}

function section(title, draw) {
  const details = make("details", {}, make("summary", { text: title }));
  drawnWhenOpened(details, draw);
  return details;
}

function citations(answer) {
  const named = answer.citations.map(([number, place, by]) => {
    const title = place === null ? "" : passages[place][0];
    return `[${number}] ${title}${by === "match" ? " (matched)" : ""}`;
  });
  return make("p", { className: "facts", text: `Cites ${named.join(", ")}` });
}

function read(answer) {
  const cited = new Set(answer.citations.map(([, place]) => place));
  return make("ol", {}, ...answer.passages.map((place) => {
    const [title, text] = passages[place];
    const name = make("bdi", { text: title || "(no title)", className: cited.has(place) ? "cited" : "" });
    return make("li", {}, name, cited.has(place) ? " (cited)" : "", make("p", { className: "text", text }));
  }));
}

function ways(paths) {
  return make("ul", {}, ...paths.map((text) => make("li", { text })));
}

// The steps below each other, each a bar at its time within the whole.
function timeline(spans) {
  const end = Math.max(...spans.map(([, start, seconds]) => start + seconds), 1e-6);
  const depths = [];
  return make("ol", { className: "trace" }, ...spans.map(([name, start, seconds, parent, attributes], place) => {
    depths[place] = parent < 0 ? 0 : depths[parent] + 1;
    const bar = make("span");
    bar.style.left = `${(100 * start) / end}%`;
    bar.style.width = `${(100 * seconds) / end}%`;
    const more = Object.entries(attributes).map(([key, text]) => `${key}: ${text}`).join(" · ");
    const label = make("div", {}, make("b", { text: name }), ` ${(1000 * seconds).toFixed(0)} ms `,
      make("span", { className: "facts", text: more }));
    label.style.paddingLeft = `${Math.min(depths[place], 6) * 12}px`;
    return make("li", {}, label, make("div", { className: "track", "aria-hidden": "true" }, bar));
  }));
}

filter();
