// The verdict on an image, and every check behind it with value, unit and limit.

import { element } from "/static/dom.js";
import { capital } from "/static/measurements.js";

const VERDICTS = {
  ok: "Image quality: ok",
  caution: "Image quality: caution",
  reject: "Image quality: do not use these numbers",
};
const HEADS = ["Check", "Value", "Limit", "Outcome"];

export function quality(record) {
  if (!record.quality) return [];
  const { verdict, reasons } = record.quality;
  const checks = Object.entries(record.quality).filter(([, check]) => check && check.limit !== undefined);
  return [element("div", { class: `quality ${verdict}` },
    element("strong", {}, VERDICTS[verdict]),
    ...(reasons.length ? [element("ul", {}, ...reasons.map((reason) => element("li", {}, capital(reason))))] : []),
    element("details", {}, element("summary", {}, "Every check"),
      element("table", {}, element("thead", {}, element("tr", {}, ...HEADS.map((head) => element("th", { scope: "col" }, head)))),
        element("tbody", {}, ...checks.flatMap(rows)))))];
}

function rows([name, check]) {
  // Further numbers of a check lie beside its value, each with a limit, unit and reason of its own.
  const further = Object.keys(check).filter((key) =>
    !["value", "limit", "unit", "pass", "reason"].includes(key) && !/_(limit|unit|reason)$/.test(key));
  // The check fails with any of its numbers, its value only beyond its own limit.
  const passed = check.value !== null && further.some((key) => `${key}_limit` in check)
    ? within(check.value, check.limit) : check.pass;
  return [row(`quality.${name}.value`, name, check.value, check.limit, check.unit, outcome(passed, check.reason)),
    ...further.map((key) => row(`quality.${name}.${key}`, key, check[key], check[`${key}_limit`],
      check[`${key}_unit`] ?? (key.endsWith("_um") ? "µm" : "1"),
      outcome(within(check[key], check[`${key}_limit`]), check[`${key}_reason`])))];
}

// Null where there is no number or no limit to compare it with.
function within(value, limit) {
  return typeof value === "number" && typeof limit === "number" ? value <= limit : null;
}

function outcome(passed, reason) {
  return passed === null ? reason ?? "" : passed ? "passes" : "fails";
}

function row(path, name, value, limit, unit, result) {
  return element("tr", {}, element("th", { scope: "row", title: path }, words(name)),
    element("td", { class: "number" }, value === null ? "" : withUnit(shown(value), typeof value === "number" ? unit : "1")),
    element("td", { class: "unit" }, limitText(limit, unit)), element("td", {}, result));
}

function words(name) {
  return { image_mpp_um: "Pixel size of the image", background_od: "Background", unevenness: "Unevenness of the light",
    vignetting: "Light that the corners lack" }[name] ?? capital(name.replaceAll("_", " "));
}

function shown(value) {
  return typeof value === "boolean" ? (value ? "yes" : "no") : String(value);
}

function limitText(limit, unit) {
  if (limit === null || limit === undefined) return "";
  return Array.isArray(limit) ? `${limit[0]} to ${withUnit(limit[1], unit)}` : `at most ${withUnit(limit, unit)}`;
}

function withUnit(text, unit) {
  return unit === "1" || unit === undefined ? String(text) : `${text} ${unit}`;
}
