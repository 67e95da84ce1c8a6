// The operator's page: asks /api/operations every two seconds, and draws what it said in the last ten minutes.
"use strict";

const PERIOD_MS = 2000;
const KEPT = 300;

// [name in the answer, title, whether it is shown as a rate, whether anything above 0 is worth a look]
const FIGURES = [
  ["sign_ups", "Sign-ups a second", true, false],
  ["queue", "Requests that wait, of this process", false, false],
  ["tasks_waiting", "Forms to be opened", false, false],
  ["mails_waiting", "Mails to be sent", false, false],
  ["mails_sent", "Mails sent, of this process (steps of ten)", false, false],
  ["conflicts", "Numbers with different addresses (steps of ten)", false, true],
  ["reports", "Reports taken, of this process (steps of ten)", false, false],
  ["files", "Key files published (steps of ten)", false, false],
  ["refused", "Requests refused, of this process (steps of ten)", false, false],
  ["busy", "Requests told to come again, of this process (steps of ten)", false, false],
  ["failed", "Errors, of this process (steps of ten)", false, true],
];

const history = new Map(FIGURES.map(([name]) => [name, []]));
let last = null;

function element(name, text) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  return made;
}

function plot(values) {
  const SVG = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${KEPT} 100`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const highest = Math.max(1, ...values);
  const line = document.createElementNS(SVG, "polyline");
  const points = values.map((value, at) => `${KEPT - values.length + at},${98 - (96 * value) / highest}`);
  line.setAttribute("points", points.join(" "));
  svg.append(line);
  return svg;
}

function show(now) {
  const seconds = last ? (now.at - last.at) / 1000 : 0;
  const sections = FIGURES.map(([name, title, isRate, isWorthALook]) => {
    const total = now.figures[name];
    const value = isRate ? (seconds > 0 ? Math.max(0, total - last.figures[name]) / seconds : 0) : total;
    const values = history.get(name);
    values.push(value);
    if (values.length > KEPT) values.shift();
    const section = element("section");
    if (isWorthALook && value > 0) section.className = "wrong";
    const text = value.toLocaleString(undefined, { maximumFractionDigits: 1 });
    section.append(element("h2", title), element("output", isRate ? `${text}, ${total.toLocaleString()} in all` : text), plot(values));
    return section;
  });
  document.getElementById("figures").replaceChildren(...sections);
  document.getElementById("figures").hidden = false;
  last = now;
}

async function ask(token) {
  const answer = await fetch("/api/operations", { headers: { "X-API-Key": token }, cache: "no-store" });
  if (answer.status === 401) throw new Error("The token is wrong.");
  if (!answer.ok) throw new Error(`The server answers ${answer.status}.`);
  show({ at: performance.now(), figures: await answer.json() });
}

let timer = 0;

async function round(token) {
  const state = document.getElementById("state");
  try {
    await ask(token);
    state.textContent = "";
  } catch (error) {
    state.textContent = error instanceof TypeError ? "The server cannot be reached; it is asked again." : error.message;
    if (error.message === "The token is wrong.") return;
  }
  timer = setTimeout(round, PERIOD_MS, token);
}

document.getElementById("key").addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(timer);
  // Kept in this page alone: closing it forgets it.
  round(document.getElementById("token").value.trim());
});
