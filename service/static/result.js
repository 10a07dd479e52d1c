// Show one analysis: headline numbers, outlines, the table, downloads and provenance.

import { element } from "/static/dom.js";
import { GROUPS, HEADLINES, LISTS, capital, entryOf, format, methodsText, reasonAt, valueAt } from "/static/measurements.js";
import { quality } from "/static/quality.js";

const DOWNLOADS = [
  ["measurements.csv", "Table (CSV)"],
  ["measurements.xlsx", "Workbook (Excel)"],
  ["overlay.png", "Outlines (PNG)"],
  ["skeleton.png", "Skeleton (PNG)"],
  ["objects.csv", "Objects (CSV)"],
  ["objects.geojson", "Objects (GeoJSON, QuPath)"],
  ["mask.ome.tif", "Mask (OME-TIFF)"],
  ["mask_vegf_cell.ome.tif", "Cell mask (OME-TIFF)"],
  ["labels.ome.tif", "Labelled objects (OME-TIFF)"],
];

export function showResult(place, envelope, original) {
  const { record, links } = envelope;
  const region = record.regions[0];
  place.replaceChildren(
    summary(record, region),
    ...(links["overlay.png"] ? [viewer(links["overlay.png"], original, record)] : []),
    measurements(record),
    ...comparisons(record),
    ...parity(record),
    downloads(envelope),
    provenance(record),
  );
}

function summary(record, region) {
  const paths = record.image.markers.flatMap((marker) => HEADLINES[marker] ?? []);
  const facts = paths.filter((path) => valueAt(region, path) !== null).map((path) => {
    const [, label, unit, digits, factor] = entryOf(path);
    return element("div", { class: "fact" }, element("dt", {}, label),
      element("dd", {}, format(valueAt(region, path), digits, factor), " ", element("small", {}, unit)));
  });
  const { image } = record;
  return element("section", { class: "card" },
    element("div", { class: "head" },
      element("h2", {}, image.name),
      element("p", { class: "help" }, `${image.markers.join(" + ")} · ${image.modality} · ${image.width_px} × ${image.height_px} px at ${image.mpp_um} µm/px`)),
    facts.length ? element("dl", { class: "facts" }, ...facts)
      : element("p", {}, "Nothing that the marker shows was found; the table says what could not be measured and why."),
    ...quality(record),
    ...(record.warnings.length ? [element("div", { class: "warnings" },
      element("strong", {}, "Mind before you use these numbers"),
      element("ul", {}, ...record.warnings.map((warning) => element("li", {}, capital(warning)))))] : []));
}

function viewer(overlayUrl, original, record) {
  const picture = element("img", { src: overlayUrl, alt: `Outlines found on ${record.image.name}` });
  const frame = element("div", { class: "viewer", tabindex: "0", role: "region", "aria-label": "Section with outlines; zoom with the buttons, then scroll" }, picture);
  let zoom = 1;
  let share = 1;
  const level = element("span", { class: "help", role: "status" });
  // Both pictures are shown at the overlay's scale, so that a click compares the very same place.
  const overlay = { width: 0, height: 0 };
  // At zoom 1 the whole picture shows, the scale bar below the section included.
  const fit = () => {
    const borders = frame.offsetHeight - frame.clientHeight;
    const height = parseFloat(getComputedStyle(frame).maxHeight) - borders;
    const width = (height * overlay.width) / overlay.height;
    return width > 0 && frame.clientWidth > 0 ? Math.min(1, width / frame.clientWidth) : 1;
  };
  const setZoom = (wanted) => {
    const middleX = (frame.scrollLeft + frame.clientWidth / 2) / picture.clientWidth;
    const middleY = (frame.scrollTop + frame.clientHeight / 2) / picture.clientHeight;
    zoom = Math.min(8, Math.max(1, wanted));
    picture.style.width = `${100 * zoom * share * fit()}%`;
    picture.classList.toggle("pixels", zoom >= 4);
    frame.scrollLeft = middleX * picture.clientWidth - frame.clientWidth / 2;
    frame.scrollTop = middleY * picture.clientHeight - frame.clientHeight / 2;
    level.textContent = zoom > 1 ? `${Math.round(zoom * 100)} %` : "";
  };
  picture.addEventListener("load", () => {
    if (!overlay.width) Object.assign(overlay, { width: picture.naturalWidth, height: picture.naturalHeight });
    setZoom(zoom);
  });
  addEventListener("resize", () => setZoom(zoom));
  const tools = [
    tool("Zoom in", () => setZoom(zoom * 1.5)),
    tool("Zoom out", () => setZoom(zoom / 1.5)),
    tool("Fit", () => setZoom(1)),
  ];
  if (original) {
    const toggle = tool("Show the original", () => {
      const showing = toggle.getAttribute("aria-pressed") === "true";
      toggle.setAttribute("aria-pressed", String(!showing));
      // The outlines' picture has a legend, which can be wider than a small section.
      share = showing ? 1 : Math.min(1, drawnWidth(record.image) / overlay.width);
      picture.src = showing ? overlayUrl : original;
      setZoom(zoom);
      picture.alt = showing ? `Outlines found on ${record.image.name}` : record.image.name;
    });
    toggle.setAttribute("aria-pressed", "false");
    tools.push(toggle);
  }
  return element("figure", { class: "card" }, element("h3", {}, "Check the outlines"), frame,
    element("div", { class: "tools" }, ...tools,
      element("a", { class: "tool", href: overlayUrl, target: "_blank", rel: "noopener" }, "Open full size"), level),
    element("figcaption", {}, "If outlines miss what you see or follow what is not there, change the threshold under More settings, and keep that value for every section of the study."));
}

// As the overlay is drawn: at most 2048 px, small images enlarged by a whole factor to 1024 px.
function drawnWidth({ width_px: width, height_px: height }) {
  const longest = Math.max(width, height);
  return longest > 2048 ? (width * 2048) / longest : width * Math.max(1, Math.floor(1024 / longest));
}

function tool(text, act) {
  return element("button", { class: "tool", type: "button", onclick: act }, text);
}

function measurements(record) {
  const place = element("div", {});
  const show = (index) => place.replaceChildren(...tables(record, record.regions[index]));
  const names = record.regions.map((region) => region.name);
  const choice = element("select", { id: "region", onchange: () => show(choice.selectedIndex) },
    ...names.map((name) => element("option", {}, name)));
  show(0);
  return element("section", { class: "card" }, element("h3", {}, "Measurements"),
    ...(names.length > 1 ? [element("p", {}, element("label", { for: "region" }, "Region "), choice)] : []), place);
}

function tables(record, region) {
  const intervals = new Map(record.uncertainty.filter((entry) => entry.region === region.name)
    .map((entry) => [entry.path, entry]));
  const heads = ["Measurement", "Value", "95 % interval", "Unit"];
  const groups = GROUPS.map(([title, entries]) => [title, rowsOf(region, entries, intervals), partOf(entries[0][0])])
    .filter(([, rows]) => rows.length);
  const missing = record.uncertainty.find((entry) => entry.region === region.name && entry.reason);
  const note = intervals.size && [...intervals.values()].some((entry) => entry.ci95_low !== null)
    ? "The interval says where the density of the tissue at large probably lies, of which this is a piece. It is not the error of the outlines, nor the spread between sections or animals."
    : missing ? `No interval: ${missing.reason}.` : "";
  return [...groups.flatMap(([title, rows, part]) => [element("table", {}, element("caption", {}, title),
    element("thead", { class: "visually-hidden" }, element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)))),
    element("tbody", {}, ...rows)), ...LISTS.filter(({ values }) => partOf(values) === part).flatMap((list) => listed(region, list))]), ...(note ? [element("p", { class: "help" }, note)] : [])];
}

function partOf(path) {
  return path.split(".")[0];
}

function rowsOf(region, entries, intervals) {
  const part = partOf(entries[0][0]);
  if (part !== "area_mm2" && valueAt(region, part) === null) return [];
  return entries.flatMap(([path, label, unit, digits, factor]) => {
    const value = valueAt(region, path);
    const reason = reasonAt(region, path);
    if (value === null && (reason === "" || reason.startsWith("not defined for"))) return [];
    const head = element("th", { scope: "row", title: path }, label);
    if (value === null) {
      return [element("tr", {}, head, element("td", { class: "why", colspan: "3" }, `Not available: ${reason}`))];
    }
    const interval = intervals.get(path);
    const range = interval && interval.ci95_low !== null
      ? `${format(interval.ci95_low, digits, factor)} – ${format(interval.ci95_high, digits, factor)}` : "";
    return [element("tr", {}, head, element("td", { class: "number" }, format(value, digits, factor)),
      element("td", { class: "interval" }, range, shifted(interval, digits, factor)), element("td", { class: "unit" }, unit))];
  });
}

// One number for each size or limit, folded away below the tables.
function listed(region, { values, sizes, title, label, unit, note, missing, digits }) {
  const numbers = valueAt(region, values);
  if (numbers === null) return [];
  const greatest = Math.max(...numbers.filter((number) => number !== null));
  const rows = numbers.map((number, index) => {
    const head = element("th", { scope: "row", title: `${values}.${index}` }, label(valueAt(region, sizes)[index]));
    if (number === null) {
      return element("tr", {}, head, element("td", { class: "why", colspan: "3" }, `Not available: ${reasonAt(region, `${values}.${index}`) || missing}`));
    }
    const bar = element("span", { class: "bar" });
    bar.style.width = `${100 * number / greatest}%`;
    return element("tr", {}, head, element("td", { class: "number" }, format(number, digits)),
      element("td", { class: "unit" }, unit), element("td", { class: "bars", "aria-hidden": "true" }, bar));
  });
  const heads = ["Size", "Value", "Unit", "Drawn"];
  return [element("details", { class: "list" }, element("summary", {}, title),
    element("table", {}, element("thead", { class: "visually-hidden" }, element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)))),
      element("tbody", {}, ...rows)), element("p", { class: "help" }, note))];
}

// What a threshold a little lower or higher would have given: how much the outlines leave open.
function shifted(interval, digits, factor) {
  if (!interval || interval.threshold_low === null || interval.threshold_high === null) return "";
  const [low, high] = [interval.threshold_low, interval.threshold_high].map((value) => format(value, digits, factor));
  return element("small", { title: "With the probability threshold 0.05 lower and higher" }, `threshold ∓ 0.05: ${low}, ${high}`);
}

// A card with one table; cells that are numbers stand right.
function card(title, heads, rows, note) {
  return element("section", { class: "card" }, element("h3", {}, title),
    element("table", {}, element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)))),
      element("tbody", {}, ...rows.map((cells) => element("tr", {}, ...cells)))),
    element("p", { class: "help" }, note));
}

function comparisons(record) {
  if (!record.comparisons.length) return [];
  const rows = record.comparisons.map(({ region, reference, path, ratio, log_ratio: logRatio, reason }) => [
    element("th", { scope: "row", title: path }, entryOf(path)[1]),
    element("td", {}, `${region} to ${reference}`),
    // Where nothing is in the region the ratio is 0, which has no logarithm.
    ...(ratio === null ? [element("td", { class: "why", colspan: "2" }, `Not available: ${reason}`)]
      : [ratio, logRatio].map((number) => (number === null ? element("td", { class: "why" }, `Not available: ${reason}`)
        : element("td", { class: "number" }, format(number, 3))))),
  ]);
  return [card("Regions compared", ["Density", "Region to its reference", "Ratio", "ln ratio"], rows,
    "A ratio of 1, whose logarithm is 0, means that both hold as much for their area.")];
}

const PROGRAMS = { angiotool: "AngioTool", reaver: "REAVER", qvat: "Q-VAT" };

function parity(record) {
  const rows = (record.parity ?? []).flatMap((entry) => Object.entries(PROGRAMS).flatMap(([key, program]) =>
    Object.entries(entry[key]).map(([name, value]) => [
      element("th", { scope: "row" }, program), element("td", {}, entry.region), element("td", {}, name),
      value === null ? element("td", { class: "why" }, "Not available") : element("td", { class: "number" }, format(value, 4)),
    ])));
  return rows.length ? [card("What other programs would report", ["Program", "Region", "Their name", "Value"], rows,
    "To compare with the literature, by their formulas on this skeleton; none of our numbers use it.")] : [];
}

function downloads(envelope) {
  const record = URL.createObjectURL(new Blob([JSON.stringify(envelope.record, null, 2)], { type: "application/json" }));
  const stem = envelope.record.image.name.replace(/\.[^.]*$/, "");
  const files = DOWNLOADS.filter(([name]) => envelope.links[name]).map(([name, label]) =>
    element("a", { class: "download", href: envelope.links[name], download: `${stem}.${name}` }, label));
  return element("section", { class: "card" }, element("h3", {}, "Download"),
    element("div", { class: "tools" }, ...files,
      element("a", { class: "download", href: record, download: `${stem}.record.json` }, "Whole record (JSON)")));
}

function provenance(record) {
  const { image, model, software, settings } = record;
  const text = methodsText(record);
  const copied = element("span", { class: "help", role: "status" });
  // Browsers give the clipboard to pages of this machine and of https only.
  const copy = navigator.clipboard ? tool("Copy", async () => {
    await navigator.clipboard.writeText(text);
    copied.textContent = "Copied";
  }) : "";
  const rows = [
    ["Image", [image.name, element("br"), element("code", {}, image.sha256)]],
    ["Pixel size", [`${image.mpp_um} µm/px, ${image.mpp_source === "file" ? "read from the file" : "entered with the request"}`]],
    ["Channels", [Object.entries(image.channels).map(([name, index]) => `${name} = ${index}`).join(", ")]],
    ["Model", [`${model.name} ${model.version}, ${model.mpp_um} µm/px`, element("br"), element("code", {}, model.sha256)]],
    ["Thresholds", [Object.entries(model.thresholds).map(([name, value]) => `${name} ${Number(value.toFixed(4))}`).join(", ")]],
    ["Tissue", [tissueName(settings)]],
    ["Software", [`Angiometry ${software.version}`, ...(software.git_revision ? [" ", element("code", {}, software.git_revision)] : [])]],
    ["Measured", [`${new Date(record.created_at).toLocaleString("en-GB", { timeZone: "UTC" })} UTC`, element("br"), element("code", {}, record.analysis_id)]],
  ].filter(([, values]) => values.some((value) => value !== ""));
  return element("section", { class: "card" }, element("h3", {}, "How it was measured"),
    element("p", { class: "methods" }, text),
    element("div", { class: "tools" }, copy, copied),
    element("details", {}, element("summary", {}, "Every detail"),
      element("dl", { class: "provenance" }, ...rows.flatMap(([name, values]) => [element("dt", {}, name), element("dd", {}, ...values)])),
      element("p", { class: "help" }, "All settings are in the JSON record; angiometry measure --settings repeats them.")));
}

function tissueName({ tissue }) {
  if (tissue === "auto") return "frame without bare glass";
  return tissue === "frame" ? "the whole image" : `as the mask ${tissue} says`;
}
