// The sign-up page in a browser that can seal: form -> recovery code, shown -> sealed once, kept -> sent until it is answered -> receipt.
// What is kept on this computer: recovery codes, sealed bytes that wait, refusals, receipts. Never the form.

import { canonical, mistakes } from "./form.js";
import * as sealing from "./sealing.js";

// What is kept lies under one name for each sign-up, so that two tabs write over nothing of each other.
const KEPT = "vigie-sign-up ";
const PATHS = { sign_up: "/v1/waitlist", correct: "/v1/waitlist/correct", withdraw: "/v1/waitlist/withdraw", status: "/v1/waitlist/status" };
// A repeat after this long, doubled each time up to the longest, and spread: not everybody comes back at once.
const FIRST_WAIT_MS = 2_000;
const LONGEST_WAIT_MS = 60_000;
const ANSWER_TIME_MS = 30_000;
// What is said where nothing was stored, and only a person can help.
const REFUSALS = { 400: "not_taken", 404: "unknown", 409: "key_changed", 413: "not_taken" };

const element = (id) => document.getElementById(id);
const text = (key) => document.querySelector(`template[data-text="${key}"]`).content.textContent;
const SECTIONS = ["without", "start", "code-step", "result"];
const language = document.documentElement.lang;

let signUps = load();
// Forgetting empties this: answers to what was begun before may still come, and nothing of them is kept.
let wanted = new WeakSet(signUps);
// The sign-up that is shown, or waited for.
let current = null;
// The recovery code of the form being filled in, or the sign-up being corrected.
let draft = { code: null, corrects: null };
let checked = null;
const underWay = new Set();

function load() {
  try {
    const names = Object.keys(localStorage).filter((name) => name.startsWith(KEPT));
    return names.sort().map((name) => ({ ...JSON.parse(localStorage.getItem(name)), name }));
  } catch {
    return [];
  }
}

function newSignUp(code) {
  const signUp = { code };
  wanted.add(signUp);
  return signUp;
}

// A browser that keeps nothing still sends; only a reload repeats nothing then.
function store(change) {
  try {
    change(localStorage);
  } catch {
    /* full, or forbidden */
  }
}

function keep(signUp) {
  if (!wanted.has(signUp)) return;
  signUp.name ??= `${KEPT}${Date.now()} ${sealing.randomId()}`;
  if (!signUps.includes(signUp)) signUps.push(signUp);
  const { name, ...known } = signUp;
  store((storage) => storage.setItem(name, JSON.stringify(known)));
  showKept();
}

function drop(signUp) {
  wanted.delete(signUp);
  signUps = signUps.filter((other) => other !== signUp);
  store((storage) => storage.removeItem(signUp.name));
  showKept();
}

const say = (words) => (element("status").textContent = words);

function show(section, heading) {
  for (const id of SECTIONS) element(id).hidden = id !== section;
  if (heading) element(heading).focus();
}

// Keys and rules, asked for once; again where a key is unknown.
let asked = null;
function authority(again) {
  if (!asked || again) {
    asked = fetch("/client.json", { cache: again ? "reload" : "default", referrerPolicy: "no-referrer" })
      .then((answer) => answer.json())
      .then((client) => client.waitlist);
    asked.catch(() => (asked = null));
  }
  return asked;
}

// The form

function typed() {
  const value = (field) => element(field)?.value ?? "";
  return {
    national_number: value("national_number"),
    name: value("name"),
    birth_year: value("birth_year"),
    contact: value("contact"),
    consent: element("consent").checked,
    language,
  };
}

// Only a mistake that is shown describes its field: what is hidden would be read out, too.
function mark(field, isWrong) {
  const [input, mistake] = [element(field), element(`${field}-error`)];
  const described = [element(`${field}-hint`)?.id, isWrong && mistake.id].filter(Boolean).join(" ");
  mistake.hidden = !isWrong;
  input.toggleAttribute("aria-describedby", described !== "");
  if (described) input.setAttribute("aria-describedby", described);
  input.setAttribute("aria-invalid", String(isWrong));
}

function showMistakes(fields) {
  for (const mistake of document.querySelectorAll("#form .mistake")) {
    const field = mistake.id.replace("-error", "");
    mark(field, fields.includes(field));
  }
  const links = fields.map((field) => {
    const [item, link] = [document.createElement("li"), document.createElement("a")];
    link.href = `#${field}`;
    link.textContent = element(`${field}-error`).textContent;
    link.addEventListener("click", (event) => {
      event.preventDefault();
      element(field).focus();
    });
    item.append(link);
    return item;
  });
  element("errors").querySelector("ul").replaceChildren(...links);
  element("errors").hidden = fields.length === 0;
  if (fields.length) element("errors").focus();
}

function begin(corrects, isAgain) {
  if (!isAgain) draft = { code: null, corrects };
  current = null;
  say("");
  showMistakes([]);
  element("intro").hidden = Boolean(corrects);
  element("correcting").hidden = !corrects;
  show("start", "title");
}

async function check() {
  let rules;
  try {
    rules = (await authority()).form;
  } catch {
    return say(text("no_network"));
  }
  const form = canonical(typed());
  const wrong = mistakes(form, rules, new Date().getUTCFullYear());
  showMistakes(wrong);
  if (wrong.length) return;
  checked = form;
  say("");
  if (draft.corrects) return send();
  draft.code ??= sealing.newCode();
  element("code").textContent = sealing.groupedCode(draft.code);
  show("code-step", "code-title");
}

// Sending

// Seals once, and keeps the bytes before the first of them is sent. A second click finds nothing to seal.
async function send() {
  const [form, { code, corrects }] = [checked, draft];
  if (!form) return;
  checked = null;
  say(text("sending"));
  const signUp = corrects ?? newSignUp(code);
  const isSealed = await seal(signUp, form, corrects ? "correct" : "sign_up").then(() => true, () => false);
  if (!wanted.has(signUp)) return;
  if (!isSealed) {
    checked = form;
    return say(text("no_network"));
  }
  element("form").reset();
  draft = { code: null, corrects: null };
  current = signUp;
  deliver(signUp, form);
}

async function seal(signUp, form, kind) {
  const own = await sealing.derived(signUp.code);
  const id = kind === "correct" ? sealing.randomId() : own.id;
  const sealed = await sealing.sealForm(form, id, own.secretHash, await authority());
  const body =
    kind === "correct"
      ? { operation_id: own.id, secret: own.secret, form: sealed.form }
      : { form: sealed.form, secret_hash: own.secretHash };
  wait(signUp, { kind, id, hash: sealed.hash, body: JSON.stringify(body) });
}

function wait(signUp, pending) {
  signUp.pending = pending;
  delete signUp.refused;
  keep(signUp);
}

async function post(kind, body, id) {
  const headers = { "content-type": "application/json", ...(id && { "idempotency-key": id }) };
  const signal = AbortSignal.timeout(ANSWER_TIME_MS);
  try {
    const answer = await fetch(PATHS[kind], { method: "POST", headers, body, signal, cache: "no-store" });
    return { status: answer.status, retryAfter: Number(answer.headers.get("retry-after")) || 0, json: await answer.json() };
  } catch {
    return { status: 0, retryAfter: 0, json: {} };
  }
}

// Sends the same bytes until they are answered, also when the page was loaded again.
async function deliver(signUp, form) {
  if (current === signUp) show("none", "title");
  if (underWay.has(signUp)) return;
  underWay.add(signUp);
  for (let attempt = 0; signUp.pending && wanted.has(signUp); attempt++) {
    if (current === signUp) say(text("sending"));
    const { kind, id, body } = signUp.pending;
    const answer = await post(kind, body, id);
    if (!wanted.has(signUp)) break;
    if (!(await settled(signUp, answer, form))) await pause(signUp, attempt, answer.retryAfter);
  }
  underWay.delete(signUp);
}

// What an answer means. False: it is to be tried again.
async function settled(signUp, { status, json }, form) {
  const { pending } = signUp;
  if (status === 200 || status === 201) {
    const says = await believed(json.receipt).catch(() => null);
    if (!says || (pending.hash && says.form_hash !== pending.hash)) return false;
    done(signUp, { receipt: json.receipt, place: says.place, received_s: says.received_s, state: json.state ?? "received" });
    return true;
  }
  if (status === 422) {
    await reused(signUp);
    return true;
  }
  if (status === 409 && form) {
    // The key has changed since the page was loaded, and nothing was stored: sealed again, to the new one.
    await authority(true)
      .then(() => seal(signUp, form, pending.kind))
      .catch(() => null);
    return false;
  }
  if (!(status in REFUSALS)) return false;
  delete signUp.pending;
  signUp.refused = status;
  keep(signUp);
  // Who looks at something else is told when they look at this one.
  if (current === signUp) giveUp(signUp);
  return true;
}

// Nothing of it was stored: back to where it came from, with the same recovery code.
function giveUp(signUp) {
  const refusal = REFUSALS[signUp.refused];
  delete signUp.refused;
  if (signUp.receipt) {
    keep(signUp);
    showResult(signUp, "result-title");
  } else {
    drop(signUp);
    draft = { code: signUp.code, corrects: null };
    begin(null, true);
  }
  say(text(refusal));
}

function done(signUp, known) {
  delete signUp.pending;
  Object.assign(signUp, { reason: "" }, known);
  keep(signUp);
  if (current !== signUp) return;
  say("");
  showResult(signUp, "result-title");
}

// What was sent first counts, and is shown.
async function reused(signUp) {
  const isOfSignUp = signUp.pending.kind === "sign_up";
  delete signUp.pending;
  keep(signUp);
  await look(signUp);
  element("reused").hidden = !isOfSignUp || !signUp.receipt;
}

async function pause(signUp, attempt, retryAfter) {
  const spread = Math.random() * Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** attempt);
  const wait = retryAfter * 1000 + spread;
  const time = new Date(Date.now() + wait).toLocaleTimeString(language);
  if (current === signUp) say(text(navigator.onLine ? "waiting" : "no_network_kept").replace("{time}", time));
  await new Promise((resolve) => {
    setTimeout(resolve, wait);
    if (!retryAfter) addEventListener("online", resolve, { once: true });
  });
}

// The receipt, if the authority signed it. A key that is unknown may be newer than the page.
async function believed(receipt) {
  if (typeof receipt !== "string") return null;
  const says = await sealing.readReceipt(receipt, (await authority()).receipt_keys);
  return says ?? sealing.readReceipt(receipt, (await authority(true)).receipt_keys);
}

// What was received

async function look(signUp) {
  say(text("sending"));
  const own = await sealing.derived(signUp.code);
  const { status, json } = await post("status", JSON.stringify({ operation_id: own.id, secret: own.secret }));
  const says = status === 200 ? await believed(json.receipt).catch(() => null) : null;
  if (!wanted.has(signUp)) return;
  if (says && says.operation_id === own.id) {
    Object.assign(signUp, { receipt: json.receipt, place: says.place, received_s: says.received_s });
    Object.assign(signUp, { state: json.state, reason: json.reason });
    keep(signUp);
    say("");
    return showResult(signUp, "result-title");
  }
  if (status === 404) {
    drop(signUp);
    begin(null);
  } else if (signUp.receipt) showResult(signUp);
  say(text(status === 404 ? "unknown" : "no_network"));
}

async function showResult(signUp, heading) {
  current = signUp;
  element("result-title").textContent = text(signUp.state === "withdrawn" ? "withdrawn_title" : "result_title");
  element("reused").hidden = true;
  element("place").textContent = signUp.place;
  element("received").textContent = new Date(signUp.received_s * 1000).toLocaleString(language);
  const reason = signUp.reason ? ` ${text(`wrong_${signUp.reason}`)}` : "";
  element("state").textContent = text(`state_${signUp.state}`) + reason;
  element("result-code").textContent = sealing.groupedCode(signUp.code);
  element("receipt").textContent = signUp.receipt;
  for (const id of ["correct", "withdraw-details"]) element(id).hidden = signUp.state === "withdrawn";
  element("withdraw-details").open = false;
  show("result", heading);
  const says = await believed(signUp.receipt).catch(() => null);
  element("verified").textContent = text(says?.isVerified ? "verified" : "not_verified");
}

async function withdraw(signUp) {
  const own = await sealing.derived(signUp.code);
  wait(signUp, { kind: "withdraw", body: JSON.stringify({ operation_id: own.id, secret: own.secret }) });
  deliver(signUp);
}

function showKept() {
  const items = signUps.map((signUp) => {
    const [item, button] = [document.createElement("li"), document.createElement("button")];
    button.type = "button";
    button.className = "second";
    const label = signUp.place ? "kept_place" : signUp.refused ? "state_rejected" : "kept_waiting";
    button.textContent = text(label).replace("{place}", signUp.place);
    button.addEventListener("click", () => resume(signUp));
    item.append(button);
    return item;
  });
  element("kept-list").replaceChildren(...items);
  element("kept").hidden = signUps.length === 0;
}

function resume(signUp) {
  current = signUp;
  say("");
  if (signUp.pending) return deliver(signUp);
  if (signUp.refused) return giveUp(signUp);
  if (signUp.receipt) return showResult(signUp, "result-title");
  return look(signUp);
}

function forgetHere() {
  for (const signUp of signUps) drop(signUp);
  wanted = new WeakSet();
  checked = null;
  element("form").reset();
  begin(null);
}

// Everything that this site keeps here, cleared at once so that other tabs can tell; the cookie of the form without JavaScript, too.
async function forget() {
  store((storage) => storage.clear());
  forgetHere();
  const answer = await fetch("/signup/forget", { method: "POST", body: new URLSearchParams({ language }) }).catch(() => null);
  say(text(answer?.ok ? "forgotten" : "no_network"));
}

function recover() {
  const code = sealing.readCode(element("recovery-code").value);
  mark("recovery-code", code === null);
  if (code === null) return element("recovery-code").focus();
  element("recovery-code").value = "";
  const known = signUps.find((signUp) => signUp.code === code);
  return known?.pending || known?.refused ? resume(known) : look(known ?? newSignUp(code));
}

async function start() {
  if (!(await sealing.isCapable())) return;
  const on = (id, event, handler) =>
    element(id).addEventListener(event, (given) => {
      given.preventDefault();
      handler();
    });
  on("form", "submit", check);
  on("send", "click", send);
  on("change", "click", () => begin(null, true));
  on("look", "click", () => look(current));
  on("correct", "click", () => begin(current));
  on("another", "click", () => begin(null));
  on("withdraw", "click", () => withdraw(current));
  on("forget", "click", forget);
  on("recover-form", "submit", recover);
  addEventListener("storage", ({ key }) => key === null && forgetHere());
  element("recover").hidden = false;
  showKept();
  const last = signUps.at(-1);
  show("start");
  if (last) resume(last);
  signUps.filter((signUp) => signUp.pending).forEach((signUp) => deliver(signUp));
}

start();
