// Words and units for every measurement of a record; what is not listed here is not shown.

export const GROUPS = [
  ["Tissue", [
    ["area_mm2", "Area measured", "mm²", 4],
  ]],
  ["Vessels (CD31)", [
    ["vessels.area_fraction", "Vessel area fraction", "% of tissue", 2, 100],
    ["vessels.area_mm2", "Vessel area", "mm²", 5],
    ["vessels.profile_density_per_mm2", "Vessel profiles per area", "per mm²", 1],
    ["vessels.profile_count", "Vessel profiles counted", "", 0],
    ["vessels.length_density_mm_per_mm2", "Vessel length per area", "mm / mm²", 2],
    ["vessels.length_mm", "Vessel length", "mm", 3],
    ["vessels.branchpoint_density_per_mm2", "Branchpoints per area", "per mm²", 1],
    ["vessels.branchpoint_count", "Branchpoints counted", "", 0],
    ["vessels.segment_count", "Segments between branchpoints or ends", "", 0],
    ["vessels.endpoint_count", "Free ends", "", 0],
    ["vessels.mean_segment_length_um", "Mean segment length", "µm", 1],
    ["vessels.diameter_um.mean", "Diameter, mean", "µm", 2],
    ["vessels.diameter_um.median", "Diameter, median", "µm", 2],
    ["vessels.diameter_um.p10", "Diameter, 10th percentile", "µm", 2],
    ["vessels.diameter_um.p90", "Diameter, 90th percentile", "µm", 2],
    ["vessels.tortuosity_mean", "Tortuosity (path over chord)", "", 3],
    ["vessels.extravascular_distance_um.mean", "Distance to the nearest vessel, mean", "µm", 1],
    ["vessels.extravascular_distance_um.p50", "Distance to the nearest vessel, median", "µm", 1],
    ["vessels.extravascular_distance_um.p95", "Distance to the nearest vessel, 95th percentile", "µm", 1],
    ["vessels.extravascular_distance_um.max", "Distance to the nearest vessel, greatest", "µm", 1],
    ["vessels.lacunarity.mean", "Lacunarity, mean over box sizes", "", 3],
    ["vessels.lacunarity.slope", "Lacunarity, slope", "", 3],
    ["vessels.hotspot_profile_density_per_mm2", "Hot spot (densest field of 0.74 mm²), profiles per area", "per mm²", 1],
    ["vessels.mean_field_profile_density_per_mm2", "Mean field of 0.74 mm², profiles per area", "per mm²", 1],
  ]],
  ["VEGF-positive cells", [
    ["cells.positive_density_per_mm2", "Positive cells per area", "per mm²", 1],
    ["cells.positive_count", "Positive cells counted", "", 0],
    ["cells.positive_area_fraction", "Positive area fraction", "% of tissue", 2, 100],
    ["cells.cell_area_um2.mean", "Cell area, mean", "µm²", 1],
    ["cells.cell_area_um2.median", "Cell area, median", "µm²", 1],
    ["cells.optical_density.mean", "Optical density of the stain, mean over the cells", "OD", 3],
    ["cells.optical_density.median", "Optical density of the stain, median over the cells", "OD", 3],
    ["cells.average_optical_density", "Optical density over positive area", "OD", 3],
    ["cells.integrated_optical_density", "Integrated optical density", "OD·µm²", 1],
    ["cells.intensity.mean", "Intensity above background, mean over the cells", "grey", 1],
    ["cells.intensity.median", "Intensity above background, median over the cells", "grey", 1],
  ]],
  ["Cells and vessels", [
    ["association.cell_to_vessel_distance_um.mean", "Distance from cell to vessel, mean", "µm", 1],
    ["association.cell_to_vessel_distance_um.median", "Distance from cell to vessel, median", "µm", 1],
    ...["5", "10", "20"].flatMap((limit) => [
      [`association.fraction_within_um.${limit}`, `Cells within ${limit} µm of a vessel`, "% of cells", 1, 100],
      [`association.observed_to_expected.${limit}`, `Cells within ${limit} µm, observed to expected`, "", 2],
      [`association.p_value.${limit}`, `Cells within ${limit} µm, p-value`, "", 3],
    ]),
  ]],
];

// Measurements that are a list: one number for each size.
export const LISTS = [{
  values: "vessels.lacunarity.value",
  sizes: "vessels.lacunarity.box_um",
  title: "Lacunarity Λ by box size",
  label: (side) => `Boxes of ${side} µm`,
  unit: "no unit",
  digits: 3,
  note: "How unevenly vessels fill boxes of growing size; 1 where all boxes of a size hold as much.",
  missing: "under 100 boxes of this size fit, or it is too small or too large for these pixels",
}];

export const HEADLINES = {
  CD31: ["vessels.area_fraction", "vessels.profile_density_per_mm2",
    "vessels.length_density_mm_per_mm2", "vessels.diameter_um.mean"],
  VEGF: ["cells.positive_density_per_mm2", "cells.positive_area_fraction",
    "cells.optical_density.mean", "cells.intensity.mean"],
};

const ENTRIES = new Map(GROUPS.flatMap(([, entries]) => entries.map((entry) => [entry[0], entry])));

export function entryOf(path) {
  return ENTRIES.get(path);
}

export function valueAt(region, path) {
  return path.split(".").reduce((value, key) => value?.[key] ?? null, region);
}

// The reason of a value, or of the part it belongs to.
export function reasonAt(region, path) {
  for (let parts = path.split("."); parts.length; parts.pop()) {
    const reason = region.reasons[parts.join(".")];
    if (reason) return reason;
  }
  return "";
}

// What is no number is a dash: null times a factor would be 0.
export function format(value, digits, factor = 1) {
  if (!Number.isFinite(value)) return "–";
  return (value * factor).toLocaleString("en-GB",
    { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

export function methodsText(record) {
  const { image, model, software, settings } = record;
  const targets = { vessel: "vessels", vegf_cell: "VEGF-positive cells" };
  const thresholds = Object.entries(model.thresholds)
    .map(([target, value]) => `${targets[target] ?? target} ${Number(value.toFixed(4))}`).join(", ");
  const thickness = image.section_thickness_um ? ` (section thickness ${image.section_thickness_um} µm)` : "";
  return `${image.markers.join(" and ")} staining (${image.modality})${thickness} was measured with Angiometry `
    + `${software.version}${software.git_revision ? ` (revision ${software.git_revision.slice(0, 12)})` : ""} `
    + `using the segmentation model ${model.name} ${model.version} (SHA-256 ${model.sha256.slice(0, 12)}…) at `
    + `${model.mpp_um} µm/px, with probability thresholds: ${thresholds}`
    + `${settings.tta ? ", averaged over flips and turns" : ""}. The image had ${image.mpp_um} µm/px `
    + `(${image.mpp_source === "file" ? "from the file" : "entered by the user"}).`;
}

export function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
