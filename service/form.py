"""The text fields of an analysis request, checked together so that one answer names every fault."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from analysis.errors import RegionsError
from analysis.regions import BAND_UM, regions_document
from analysis.settings import SIZE_LIMITS, MeasureSettings
from model.targets import VEGF_CELL, VESSEL, parse_markers
from service.errors import InvalidRequestError

Probability = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
Length = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Label = Annotated[str, Field(max_length=200)]


def _size(name: str, description: str) -> Any:
    least, most = SIZE_LIMITS[name]
    return Field(ge=least, le=most, allow_inf_nan=False, description=description)


class AnalysisForm(BaseModel):
    """Fields that accompany the image."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    marker: Annotated[
        Literal["CD31", "VEGF", "CD31+VEGF"],
        Field(description="What the image shows: vessels, VEGF-positive cells, or both."),
    ]
    modality: Annotated[
        Literal["auto", "brightfield", "fluorescence"], Field(description="How it was taken.")
    ] = "auto"
    mpp_um: Annotated[
        Length | None,
        Field(description="Pixel size in µm; required if the file does not state it."),
    ] = None
    section_thickness_um: Annotated[
        Length | None, Field(description="Recorded, since length density grows with it.")
    ] = None
    channels: Annotated[
        str | None,
        Field(
            max_length=200,
            description="Which channel shows what, counted from 0: CD31=1,VEGF=2,nuclei=0.",
        ),
    ] = None
    tissue: Annotated[
        Literal["auto", "frame"],
        Field(
            description="Find glass and leave it out, take the whole frame, or a mask of the "
            "image's size sent as a file: 0 outside of the tissue and one other value inside."
        ),
    ] = "auto"
    regions: Annotated[
        str | None,
        Field(
            description="QuPath GeoJSON in full-resolution pixels: each outline is measured on "
            "its own, as text or as a file. infarct_core, midline and exclude have a meaning."
        ),
    ] = None
    band_um: Annotated[Length, Field(description="Width of the band about an infarct_core.")] = (
        BAND_UM
    )
    parity: Annotated[
        bool, Field(description="Add what AngioTool, REAVER and Q-VAT would report.")
    ] = False
    model: Annotated[
        str | None, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="Bundle name.")
    ] = None
    threshold_vessel: Annotated[
        Probability | None, Field(description="Probability from which a pixel is vessel.")
    ] = None
    threshold_vegf_cell: Annotated[
        Probability | None, Field(description="Probability from which a pixel is positive cell.")
    ] = None
    min_profile_area_um2: Annotated[
        float, _size("min_profile_area_um2", "Smallest vessel profile counted, in µm².")
    ] = MeasureSettings.min_profile_area_um2
    gap_um: Annotated[
        float, _size("gap_um", "Pieces of vessel closer than this are one profile, in µm.")
    ] = MeasureSettings.gap_um
    max_vessel_radius_um: Annotated[
        float,
        _size("max_vessel_radius_um", "Wider vessels have an area but no length, in µm."),
    ] = MeasureSettings.max_vessel_radius_um
    min_cell_area_um2: Annotated[
        float, _size("min_cell_area_um2", "Smallest VEGF-positive cell counted, in µm².")
    ] = MeasureSettings.min_cell_area_um2
    tta: Annotated[
        bool, Field(description="Average eight flips and turns: eight times slower.")
    ] = False
    animal: Annotated[Label | None, Field(description="Kept with the analysis.")] = None
    group: Annotated[Label | None, Field(description="Kept with the analysis.")] = None
    section: Annotated[Label | None, Field(description="Kept with the analysis.")] = None


@dataclass(frozen=True)
class AnalysisRequest:
    """One checked request, as the worker takes it."""

    settings: MeasureSettings
    modality: Literal["auto", "brightfield", "fluorescence"]
    mpp_um: float | None
    channels: str | None
    model: str | None
    labels: Mapping[str, str]


def parse_form(fields: Mapping[str, str]) -> AnalysisRequest:
    """Check the text fields of a form; a field left empty counts as not given.

    Raises
    ------
    InvalidRequestError
        Naming every field that is missing, unknown or wrong.
    RegionsError
        If the regions are no GeoJSON.
    """
    given = {name: value.strip() for name, value in fields.items() if value.strip()}
    try:
        form = AnalysisForm.model_validate(given)
    except ValidationError as error:
        errors = [_explain(entry) for entry in error.errors()]
        detail = "; ".join(f"{entry['field']}: {entry['message']}" for entry in errors)
        raise InvalidRequestError(detail + ".", errors=errors) from error
    return _request(form)


def _request(form: AnalysisForm) -> AnalysisRequest:
    thresholds = {VESSEL: form.threshold_vessel, VEGF_CELL: form.threshold_vegf_cell}
    labels = {"animal": form.animal, "group": form.group, "section": form.section}
    settings = MeasureSettings(
        markers=parse_markers(form.marker),
        thresholds={target: value for target, value in thresholds.items() if value is not None},
        tta=form.tta,
        tissue=form.tissue,
        section_thickness_um=form.section_thickness_um,
        regions=None if form.regions is None else _outlines(form.regions),
        band_um=form.band_um,
        parity=form.parity,
        **{name: getattr(form, name) for name in SIZE_LIMITS},
    )
    return AnalysisRequest(
        settings=settings,
        modality=form.modality,
        mpp_um=form.mpp_um,
        channels=form.channels,
        model=form.model,
        labels={name: value for name, value in labels.items() if value is not None},
    )


def _outlines(text: str) -> dict[str, Any]:
    if not text.startswith(("{", "[")):
        raise RegionsError(
            "regions begins with neither { nor [, so it is no GeoJSON; send the file itself "
            "(curl: -F regions=@regions.geojson, with an @ before its path)"
        )
    return regions_document(text)


def _explain(entry: Any) -> dict[str, str]:
    name = str(entry["loc"][0])
    given = str(entry["input"])[:80]
    known = ", ".join(("image", *AnalysisForm.model_fields))
    if entry["type"] == "missing":
        choices = AnalysisForm.model_json_schema()["properties"][name].get("enum", [])
        message = f"is required; give one of {', '.join(choices)}"
    elif entry["type"] == "extra_forbidden":
        message = f"is no field of this form; known are {known}"
    elif name == "tissue":
        message = f"is {given!r}; give auto or frame, or send a mask as a file (tissue=@mask.png)"
    elif name == "model":
        message = f"is {given!r}; give a name that GET /v1/models lists"
    else:
        message = f"is {given!r}; {_lower_first(re.sub('^Input ', '', str(entry['msg'])))}"
    return {"field": name, "message": message}


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
