"use strict";
const TEXTS = {
  en: {
    prompt: "What shall be drawn? English or French.", seed: "Seed: same seed, same picture", dice: "Another seed (random)",
    steps: "Steps: more takes longer", draw: "Draw", compare: "Show the teacher beside it (many more steps)",
    student: "Student", teacher: "Teacher", gallery: "This session", weights: "Weights", docs: "API documentation",
    empty: "Pictures that you draw gather here, until you close the page.", key: "API key (stays on this page)",
    drawing: "Drawing …", done: "Done in {s} s.", time: "{n} steps · {s} s", download: "Download", curl: "Copy as curl",
    copied: "The command is in the clipboard.", uncopied: "Copying is not allowed here; the command: ", again: "Open again: {p}", remove: "Remove",
    offline: "The server does not answer. Is it still running?", light: "Light", dark: "Dark", theme: "Colours: switch to {t}",
    shortcut: "<kbd>Ctrl</kbd> <kbd>Enter</kbd> draws.", picture: "Picture: {p}", model: "Model", busy: "Others are drawing; waiting for a place …", removed: "Removed.", other: "FR", otherLabel: "Passer en français",
    suggestions: [
      "Naruto meditating on a mountain under the sunset", "A ninja in dark armour throwing a shuriken",
      "Blond character with marks on the face and orange clothes", "A hooded ninja handling blue fire in a dark forest",
    ],
  },
  fr: {
    prompt: "Que faut-il dessiner ? En français ou en anglais.", seed: "Graine : même graine, même image", dice: "Une autre graine (au hasard)",
    steps: "Étapes : davantage prend plus de temps", draw: "Dessiner", compare: "Montrer le professeur à côté (bien plus d'étapes)",
    student: "Élève", teacher: "Professeur", gallery: "Cette session", weights: "Poids", docs: "Documentation de l'API",
    empty: "Vos images s'assemblent ici, jusqu'à la fermeture de la page.", key: "Clé d'API (reste sur cette page)",
    drawing: "Dessin en cours …", done: "Fait en {s} s.", time: "{n} étapes · {s} s", download: "Télécharger", curl: "Copier en curl",
    copied: "La commande est dans le presse-papiers.", uncopied: "La copie n'est pas permise ici ; la commande : ", again: "Rouvrir : {p}", remove: "Retirer",
    offline: "Le serveur ne répond pas. Tourne-t-il encore ?", light: "Clair", dark: "Sombre", theme: "Couleurs : passer à {t}",
    shortcut: "<kbd>Ctrl</kbd> <kbd>Entrée</kbd> dessine.", picture: "Image : {p}", model: "Modèle", busy: "D'autres dessinent ; en attente d'une place …", removed: "Retirée.", other: "EN", otherLabel: "Switch to English",
    suggestions: [
      "Naruto méditant sur une montagne au coucher du soleil", "Ninja en armure sombre lançant un shuriken",
      "Personnage blond avec des marques sur le visage et des vêtements orange", "Un ninja encapuchonné manipulant du feu bleu dans une forêt sombre",
    ],
  },
};
const API = "v1/images/generations";
const at = (id) => document.getElementById(id);
const models = {};
const pictures = [];
let language = (navigator.language || "en").startsWith("fr") ? "fr" : "en";
let running = null;
let shown = null;

const say = (key, values = {}) => Object.entries(values).reduce((text, [k, v]) => text.replace(`{${k}}`, v), TEXTS[language][key]);
const seconds = (value) => new Intl.NumberFormat(language, { maximumFractionDigits: 2, minimumFractionDigits: 2 }).format(value);

function status(text, bad = false) {
  at("status").textContent = text;
  at("status").classList.toggle("bad", bad);
}

function translate() {
  document.documentElement.lang = language;
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = say(node.dataset.text);
  at("shortcut").innerHTML = say("shortcut");
  at("dice").setAttribute("aria-label", say("dice"));
  at("dice").title = say("dice");
  at("language").textContent = say("other");
  at("language").lang = language === "en" ? "fr" : "en";
  at("language").setAttribute("aria-label", `${say("other")}: ${say("otherLabel")}`);
  at("chips").replaceChildren(...TEXTS[language].suggestions.map((text) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: text });
    button.addEventListener("click", () => { at("prompt").value = text; draw(); });
    const item = document.createElement("li");
    item.append(button);
    return item;
  }));
  labelTheme();
  showTimes();
  showGallery();
  status("");
}

const isDark = () => (document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
function labelTheme() {
  const next = say(isDark() ? "light" : "dark");
  at("theme").textContent = next;
  at("theme").setAttribute("aria-label", `${next}: ${say("theme", { t: next })}`);
}

function headers() {
  const key = at("key").value.trim();
  return { "Content-Type": "application/json", ...(key && { Authorization: `Bearer ${key}` }) };
}

/* A busy server says when to come back; up to ten seconds the page waits by itself. */
async function call(path, options = {}) {
  const answer = await ask(path, options);
  if (answer.ok) return answer;
  const wait = Number(answer.headers.get("Retry-After-Ms"));
  if ([429, 503].includes(answer.status) && wait > 0 && wait <= 10_000) {
    status(say("busy"));
    await pausing(wait, options.signal);
    return call(path, options);
  }
  if (answer.status === 401) { at("key-box").hidden = false; at("key").focus(); }
  const body = await answer.json().catch(() => ({}));
  throw new Error(body.error ? body.error.message : `HTTP ${answer.status}`);
}

async function ask(path, options) {
  try {
    return await fetch(path, { headers: headers(), ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(say("offline"));
  }
}

function pausing(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    if (signal) signal.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); });
  });
}

async function learn() {
  const list = await (await call("v1/models")).json();
  for (const model of list.data) models[model.id] = model;
  const students = Object.keys(models).filter((name) => name !== "teacher");
  at("model").replaceChildren(...students.map((name) => new Option(name, name)));
  at("model-box").hidden = students.length < 2;
  at("compare-box").hidden = !models.teacher;
  choose();
}

/* The steps slider and the digest are those of the chosen model. */
function choose() {
  const { steps, digest } = models[at("model").value];
  Object.assign(at("steps"), { min: steps.min, max: steps.max, value: steps.default });
  at("steps-shown").textContent = steps.default;
  at("digest").textContent = digest.slice(0, 16);
}

function wish(model, steps) {
  return { prompt: at("prompt").value.trim(), model, seed: Number(at("seed").value), steps };
}

/* The teacher has a frame of its own; whichever student draws, draws into the other. */
const place = (model) => (model === "teacher" ? "teacher" : "student");

function frame(model, source, prompt) {
  const box = at(`${place(model)}-frame`);
  let image = box.querySelector("img");
  if (!image) { image = document.createElement("img"); box.replaceChildren(image); }
  image.src = source;
  image.alt = say("picture", { p: prompt });
}

/* Server-sent events of a streamed drawing: previews go to the frame, the last event is returned. */
async function streamed(answer, asked) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error(say("offline"));
    text += value;
    let end;
    while ((end = text.indexOf("\n\n")) >= 0) {
      const event = JSON.parse(text.slice(0, end).split("data: ")[1]);
      text = text.slice(end + 2);
      if (event.error) throw new Error(event.error.message);
      frame(asked.model, `data:image/png;base64,${event.b64_json}`, asked.prompt);
      if (event.type === "image_generation.completed") return event;
    }
  }
}

async function drawOne(model, steps, signal, stream) {
  const asked = wish(model, steps);
  const box = at(`${place(model)}-frame`);
  box.classList.add("busy");
  const began = performance.now();
  try {
    const body = JSON.stringify({ ...asked, metadata: true, ...(stream && { stream: true, partial_images: 8 }) });
    const answer = await call(API, { method: "POST", body, signal });
    const picture = stream ? await streamed(answer, asked) : (await answer.json()).data[0];
    const source = `data:image/png;base64,${picture.b64_json}`;
    frame(model, source, asked.prompt);
    return { ...asked, source, seconds: (performance.now() - began) / 1000 };
  } finally {
    if (!signal.aborted) box.classList.remove("busy");
  }
}

async function draw({ quick = false } = {}) {
  if (!at("form").reportValidity()) return;
  if (running) running.abort();
  const mine = running = new AbortController();
  status(say("drawing"));
  const comparing = at("compare").checked && models.teacher;
  at("teacher-figure").hidden = !comparing;
  if (!quick) at("student-figure").scrollIntoView({ block: "nearest" });
  try {
    const student = await drawOne(at("model").value, Number(at("steps").value), mine.signal, !quick);
    shown = { ...shown, student };
    showTimes();
    if (comparing && !(quick && sameTeacher(student))) {
      shown.teacher = await drawOne("teacher", models.teacher.steps.default, mine.signal, true);
    }
    if (!comparing) shown.teacher = null;
    showTimes();
    remember(student);
    status(say("done", { s: seconds(student.seconds) }));
  } catch (error) {
    if (error.name !== "AbortError") status(error.message, true);
  } finally {
    if (running === mine) running = null;
  }
}

/* The steps slider changes nothing for the teacher. */
const sameTeacher = (student) => shown.teacher && shown.teacher.prompt === student.prompt && shown.teacher.seed === student.seed;

function showTimes() {
  for (const model of ["student", "teacher"]) {
    const picture = shown && shown[model];
    at(`${model}-time`).textContent = picture ? say("time", { n: picture.steps, s: seconds(picture.seconds) }) : "";
  }
}

function remember(picture) {
  const same = pictures.findIndex((p) => p.source === picture.source);
  if (same >= 0) pictures.splice(same, 1);
  pictures.unshift(picture);
  pictures.splice(60);
  showGallery();
}

function curl(picture) {
  const { prompt, model, seed, steps } = picture;
  const quoted = JSON.stringify({ prompt, model, seed, steps }).replaceAll("'", "'\\''");
  const key = at("key").value.trim() ? " -H \"Authorization: Bearer $NARUTO_ADD_API_KEY\"" : "";
  return `curl -s ${new URL(API, location)} -H 'Content-Type: application/json'${key} -d '${quoted}' | python3 -c 'import base64, json, sys; sys.stdout.buffer.write(base64.b64decode(json.load(sys.stdin)["data"][0]["b64_json"]))' > naruto-${seed}.png`;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    status(say("copied"));
  } catch {
    status(say("uncopied") + text);
  }
}

function open(picture) {
  at("model").value = picture.model;
  choose();
  at("prompt").value = picture.prompt;
  at("seed").value = picture.seed;
  at("steps").value = picture.steps;
  at("steps-shown").textContent = picture.steps;
  frame("student", picture.source, picture.prompt);
  at("teacher-figure").hidden = true;
  shown = { student: picture, teacher: null };
  showTimes();
  at("student-figure").scrollIntoView({ block: "nearest" });
}

function action(label, run, about) {
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: label });
  button.setAttribute("aria-label", `${label}: ${about}`);
  button.addEventListener("click", run);
  return button;
}

function entry(picture) {
  const item = Object.assign(document.createElement("li"), { className: "card" });
  const button = Object.assign(document.createElement("button"), { type: "button", className: "open" });
  const image = Object.assign(document.createElement("img"), { src: picture.source, alt: say("again", { p: picture.prompt }) });
  button.append(image);
  button.addEventListener("click", () => open(picture));
  const text = Object.assign(document.createElement("p"), { textContent: `${picture.prompt} · ${picture.seed} · ${picture.steps}` });
  const about = `${picture.prompt}, ${picture.seed}`;
  const actions = Object.assign(document.createElement("div"), { className: "actions" });
  actions.append(
    action(say("download"), () => Object.assign(document.createElement("a"), { href: picture.source, download: `naruto-${picture.seed}-${picture.steps}.png` }).click(), about),
    action(say("curl"), () => copy(curl(picture)), about),
    action(say("remove"), () => { pictures.splice(pictures.indexOf(picture), 1); showGallery(); status(say("removed")); at("prompt").focus(); }, about),
  );
  item.append(button, text, actions);
  return item;
}

function showGallery() {
  at("empty").hidden = pictures.length > 0;
  at("gallery").replaceChildren(...pictures.map(entry));
}

let pause = 0;
at("steps").addEventListener("input", () => {
  at("steps-shown").textContent = at("steps").value;
  clearTimeout(pause);
  if (at("prompt").value.trim()) pause = setTimeout(() => draw({ quick: true }), 60);
});
at("dice").addEventListener("click", () => {
  at("seed").value = crypto.getRandomValues(new Uint32Array(1))[0];
  if (at("prompt").value.trim()) draw();
});
at("form").addEventListener("submit", (event) => { event.preventDefault(); draw(); });
at("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); draw(); }
});
at("compare").addEventListener("change", () => { if (at("prompt").value.trim()) draw(); });
at("model").addEventListener("change", () => { choose(); if (at("prompt").value.trim()) draw(); });
at("key").addEventListener("change", () => learn().catch((error) => status(error.message, true)));
at("language").addEventListener("click", () => { language = language === "en" ? "fr" : "en"; translate(); });
at("theme").addEventListener("click", () => { document.documentElement.dataset.theme = isDark() ? "light" : "dark"; labelTheme(); });
translate();
learn().catch((error) => status(error.message, true));
