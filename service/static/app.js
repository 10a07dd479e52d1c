// The page: send one image, wait, show what was measured. No library, no build step.

import { showResult } from "/static/result.js";
import { element } from "/static/dom.js";

const $ = (id) => document.getElementById(id);
const form = $("form");
const ANALYSIS_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
let limits = null;
let chosen = null;
let pictureUrl = null;

function choose(file) {
  chosen = file ?? null;
  clearErrors();
  if (pictureUrl) URL.revokeObjectURL(pictureUrl);
  pictureUrl = null;
  $("preview").hidden = true;
  if (!chosen) return;
  $("drop-text").replaceChildren(element("strong", {}, chosen.name), ` · ${bytes(chosen.size)}`);
  if (limits && chosen.size > limits.max_upload_bytes) {
    fieldError("image", `This file has ${bytes(chosen.size)}; this service takes ${bytes(limits.max_upload_bytes)}. Crop the image.`);
  }
  if (["image/png", "image/jpeg"].includes(chosen.type)) {
    pictureUrl = URL.createObjectURL(chosen);
    $("preview").src = pictureUrl;
    $("preview").hidden = false;
  }
}

function bytes(count) {
  const units = ["bytes", "kB", "MB", "GB"];
  let index = 0;
  while (count >= 1000 && index < units.length - 1) { count /= 1000; index += 1; }
  return `${count.toFixed(index && count < 100 ? 1 : 0)} ${units[index]}`;
}

function fieldError(name, message) {
  const place = $(`${name}-error`);
  if (!place) return false;
  place.textContent = message;
  form.querySelectorAll(`[name="${name}"]`).forEach((input) => input.setAttribute("aria-invalid", "true"));
  if ($("more").contains(place)) $("more").open = true;
  return true;
}

function clearErrors() {
  form.querySelectorAll(".error").forEach((place) => { place.textContent = ""; });
  form.querySelectorAll("[aria-invalid]").forEach((input) => input.removeAttribute("aria-invalid"));
  $("problem").hidden = true;
}

function showProblem(problem) {
  const placed = problem.errors.filter((fault) => fieldError(fault.field, plain(fault)));
  const box = $("problem");
  const hint = placed.length ? [element("p", {}, "Mend what is marked above and measure again.")] : [];
  const others = problem.errors.filter((fault) => !placed.includes(fault));
  box.replaceChildren(
    element("strong", {}, problem.title),
    ...(placed.length ? hint : [element("p", {}, problem.detail)]),
    ...(placed.length && others.length
      ? [element("ul", {}, ...others.map((fault) => element("li", {}, `${fault.field}: ${fault.message}`)))] : []),
    ...(problem.request_id ? [element("small", {}, `Request ${problem.request_id}`)] : []),
  );
  box.hidden = false;
  const first = placed.length && form.querySelector(`[name="${placed[0].field}"]`);
  (first && placed[0].field !== "image" ? first : box).focus();
}

// The service speaks to programs too; here there is a field to type into.
function plain({ field, message }) {
  if (field === "mpp_um") return sentence(message.replace(/: give the pixel size in µm with .*$/, ": enter the pixel size here."));
  return sentence(message);
}

function sentence(text) {
  // A file's name stays as it is, also where it begins a sentence.
  return chosen && text.startsWith(chosen.name) ? text : text.charAt(0).toUpperCase() + text.slice(1);
}

function localProblem(title, detail) {
  return { title, detail, errors: [], request_id: "" };
}

function send(body) {
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/v1/analyses");
    request.setRequestHeader("Accept", "application/json");
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) tell(`Sending the image: ${Math.round((100 * event.loaded) / event.total)} %`, event.loaded / event.total);
    });
    request.upload.addEventListener("load", () => waitAloud());
    request.addEventListener("load", () => resolve({ status: request.status, body: parse(request.responseText) }));
    request.addEventListener("error", () => resolve({ status: 0, body: null }));
    request.send(body);
  });
}

function parse(text) {
  try { return JSON.parse(text); } catch { return null; }
}

let clock = 0;
function waitAloud() {
  const start = Date.now();
  tell("Measuring…");
  clearInterval(clock);
  clock = setInterval(() => {
    $("progress-text").textContent = `Finding outlines and measuring them: ${Math.round((Date.now() - start) / 1000)} s`;
  }, 1000);
}

function tell(text, fraction) {
  if (fraction === undefined) $("bar").removeAttribute("value"); else $("bar").value = fraction;
  $("progress-text").textContent = text;
}

async function submit(event) {
  event.preventDefault();
  clearErrors();
  if (!chosen) {
    showProblem({ title: "No image yet", detail: "", errors: [{ field: "image", message: "choose an image first" }] });
    return;
  }
  const body = new FormData(form);
  body.delete("image");
  for (const [name, value] of [...body]) {
    if (value instanceof File) {
      if (!value.size) body.delete(name);
      continue;
    }
    const text = value.trim();
    // Some keyboards write a decimal comma.
    if (!text) body.delete(name);
    else if (/^\d+,\d+$/.test(text)) body.set(name, text.replace(",", "."));
  }
  if (body.get("tissue") === "mask") {
    const mask = $("tissue-mask").files[0];
    if (!mask) {
      showProblem({ title: "No tissue mask yet", detail: "", errors: [{ field: "tissue", message: "choose the mask's file, or another tissue" }] });
      return;
    }
    body.set("tissue", mask, mask.name);
  }
  body.append("image", chosen, chosen.name);
  busy(true);
  // What an earlier image gave must not stand beside this one.
  $("result").hidden = true;
  $("empty").hidden = false;
  history.replaceState(null, "", location.pathname);
  const { status, body: answer } = await send(body);
  busy(false);
  if (status === 200 && answer) {
    history.replaceState(null, "", `#${answer.id}`);
    present(answer, pictureUrl);
  } else {
    showProblem(answer?.errors ? answer
      : localProblem("No answer", "The service did not answer. Is it still running? Then measure again."));
  }
}

function busy(on) {
  $("submit").disabled = on;
  $("submit").textContent = on ? "Measuring…" : "Measure";
  $("progress").hidden = !on;
  clearInterval(clock);
  if (on) tell("Sending the image…", 0);
}

function present(envelope, original) {
  $("empty").hidden = true;
  $("result").hidden = false;
  showResult($("result"), envelope, original);
  $("results").focus({ preventScroll: true });
  $("results").scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
}

async function getJson(path) {
  const answer = await fetch(path, { headers: { Accept: "application/json" } });
  return { ok: answer.ok, body: await answer.json() };
}

async function showStatus() {
  const ready = await getJson("/readyz");
  const model = ready.body.checks?.find((check) => check.name === "model");
  $("status").classList.toggle("ready", ready.ok);
  $("status").classList.toggle("down", !ready.ok);
  $("status").textContent = ready.ok ? "Ready" : sentence(ready.body.detail);
  if (model) $("status").title = model.detail;
  if (!ready.ok) setTimeout(() => showStatus().catch(offline), 2000);
}

function offline() {
  $("status").classList.add("down");
  $("status").textContent = "The service does not answer";
}

async function start() {
  const [{ body: version }, { body: models, ok }] = await Promise.all([getJson("/version"), getJson("/v1/models")]);
  limits = version.limits;
  $("limits").textContent = `, up to ${limits.sync_limit_px / 1e6} megapixels`;
  $("version").textContent = `Angiometry ${version.version}`;
  for (const model of ok ? models.models : []) {
    const text = `${model.name} ${model.version}`;
    if (model.is_default) {
      $("model").options[0].textContent = text;
      $("version").textContent += ` · model ${text}`;
      $("threshold_vessel").placeholder = `${Number(model.thresholds.vessel?.toFixed(3))} (model)`;
      $("threshold_vegf_cell").placeholder = `${Number(model.thresholds.vegf_cell?.toFixed(3))} (model)`;
    } else {
      $("model").append(element("option", { value: model.name }, text));
    }
  }
  await showStatus();
}

async function restore() {
  const id = location.hash.slice(1);
  if (!ANALYSIS_ID.test(id)) return;
  const { ok, body } = await getJson(`/v1/analyses/${id}`);
  if (ok) present(body, null);
}

$("image").addEventListener("change", () => choose($("image").files[0]));
for (const kind of ["dragenter", "dragover"]) {
  $("drop").addEventListener(kind, (event) => { event.preventDefault(); $("drop").classList.add("over"); });
}
for (const kind of ["dragleave", "drop"]) {
  $("drop").addEventListener(kind, (event) => { event.preventDefault(); $("drop").classList.remove("over"); });
}
$("drop").addEventListener("drop", (event) => choose(event.dataTransfer.files[0]));
form.addEventListener("change", () => {
  $("both-help").hidden = form.elements.marker.value !== "CD31+VEGF";
  $("tissue-mask").hidden = $("tissue").value !== "mask";
});
form.addEventListener("submit", submit);
start().catch(offline);
restore().catch(offline);
