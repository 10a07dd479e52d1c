"""How a synthetic section is stained and photographed: everything that leaves the truth alone."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from imaging.stains import StainVectors

RGB = tuple[float, float, float]

_HEMATOXYLINS: tuple[RGB, ...] = ((0.65, 0.65, 0.40), (0.65, 0.65, 0.40), (0.90, 0.40, 0.18))
_DABS: tuple[RGB, ...] = ((0.35, 0.60, 0.71), (0.33, 0.46, 0.82))
_MOTTLE_OF_GLOW = 0.45
_MOTTLE_OF_SIGNAL = 0.3


@dataclass(frozen=True)
class BrightfieldStyle:
    """Stain and camera of a brightfield H-DAB section. Optical densities are per unit stain vector.

    ``clean()`` gives a picture from which the stain separation returns exactly what was put in.
    ``hole_count`` holes of the tissue are as pale as open lumens, and have no wall.
    """

    vectors: StainVectors = field(default_factory=StainVectors.default)
    background_rgb: RGB = (255.0, 255.0, 255.0)
    dab_od: float = 0.7
    strength_spread: float = 0.25
    granularity: float = 0.2
    wall_face: float = 0.25
    gap_fraction: float = 0.05
    defocused_share: float = 0.0
    dab_haze_od: float = 0.03
    haze_texture: float = 0.3
    hematoxylin_od: float = 0.35
    hematoxylin_haze_od: float = 0.04
    nuclear_dab: float = 0.3
    vessel_distractor: float = 0.0
    ghost_count: int = 0
    granule_count: int = 0
    fibres: float = 0.0
    halo: float = 0.0
    blotch_count: int = 0
    erythrocyte_share: float = 0.0
    fold_count: int = 0
    dust_count: int = 0
    unevenness: float = 0.03
    blur_px: float = 0.8
    sharpening: float = 0.0
    noise_sd: float = 1.5
    jpeg_quality: int | None = 85
    hole_count: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.gap_fraction <= 1 or not 0 <= self.erythrocyte_share <= 1:
            raise ValueError("gap_fraction and erythrocyte_share are fractions between 0 and 1")
        if self.jpeg_quality is not None and not 1 <= self.jpeg_quality <= 100:
            raise ValueError(f"jpeg_quality is {self.jpeg_quality}; give 1 to 100 or None")
        for name in (
            "dab_od",
            "blur_px",
            "noise_sd",
            "dab_haze_od",
            "hematoxylin_od",
            "hole_count",
        ):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; give 0 or more")

    @property
    def weakest_cell(self) -> float:
        """Return the weakest strength of a cell that can be told from this haze and grain.

        A unit of noise in a channel of 255 is some 0.006 in a stain's density where half the light
        comes through; twice as much is seen.
        """
        visible = 0.06 + 0.5 * self.dab_haze_od + 0.012 * self.noise_sd
        return float(min(1.0, visible / max(self.dab_od, 1e-6)))

    @classmethod
    def clean(cls) -> BrightfieldStyle:
        """Return a style without haze, blur, noise, uneven light and JPEG."""
        return cls(
            dab_haze_od=0.0,
            hematoxylin_haze_od=0.0,
            unevenness=0.0,
            blur_px=0.0,
            noise_sd=0.0,
            jpeg_quality=None,
        )

    @classmethod
    def draw(cls, rng: np.random.Generator) -> BrightfieldStyle:
        """Draw a laboratory: faint to saturated stain, clean to dirty, sharp to blurred."""
        blur_px = float(np.exp(rng.uniform(np.log(0.3), np.log(2.0))))
        # A blurred wall loses its peak: the faintest stains are only told from haze when sharp.
        dab_od = float(np.exp(rng.uniform(np.log(0.13 + 0.06 * blur_px), np.log(1.8))))
        light = rng.uniform(228, 255)
        red, green, blue = np.clip(light + rng.normal(0, 4.0, 3), 215, 255)
        return cls(
            vectors=_varied_vectors(rng),
            background_rgb=(float(red), float(green), float(blue)),
            dab_od=dab_od,
            strength_spread=float(rng.uniform(0.1, 0.4)),
            granularity=float(rng.uniform(0.05, 0.4)),
            wall_face=_sometimes(rng, 0.7, 0.0, 0.8),
            gap_fraction=_sometimes(rng, 0.5, 0.0, 0.2),
            defocused_share=_sometimes(rng, 0.5, 0.0, 0.5),
            dab_haze_od=float(rng.beta(1.2, 4.0) * min(0.3, 0.5 * dab_od)),
            haze_texture=float(rng.uniform(0.1, 0.5)),
            hematoxylin_od=float(
                rng.uniform(0.25, 1.3) if rng.random() < 0.55 else rng.uniform(0.0, 0.3)
            ),
            hematoxylin_haze_od=float(rng.beta(1.5, 3.0) * 0.18),
            nuclear_dab=float(
                rng.uniform(0.0, 0.7) if rng.random() < 0.65 else rng.uniform(0.7, 1.1)
            ),
            vessel_distractor=_sometimes(rng, 0.5, 0.05, 0.25),
            ghost_count=int(rng.poisson(_sometimes(rng, 0.4, 0.0, 12.0))),
            granule_count=int(rng.poisson(_sometimes(rng, 0.4, 0.0, 60.0))),
            fibres=_sometimes(rng, 0.35, 0.1, 0.6),
            halo=_sometimes(rng, 0.4, 0.2, 0.95),
            blotch_count=int(rng.poisson(rng.choice([0.0, 0.8, 4.0]))),
            erythrocyte_share=_sometimes(rng, 0.5, 0.1, 0.9),
            fold_count=int(rng.random() < 0.1),
            dust_count=int(rng.poisson(1.2)),
            unevenness=float(rng.uniform(0.0, 0.1)),
            blur_px=blur_px,
            sharpening=_sometimes(rng, 0.5, 0.2, 0.9),
            noise_sd=float(np.exp(rng.uniform(np.log(0.4), np.log(4.0)))),
            jpeg_quality=int(rng.integers(60, 96)),
            hole_count=_hole_count(rng),
        )


@dataclass(frozen=True)
class FluorescenceStyle:
    """Signal and camera of a fluorescence section. Levels are parts of its full scale.

    ``mottle`` is the standard deviation of autofluorescence that is clouded over ``mottle_px`` and
    over a third of it; ``mottle_skew`` from 0 (as much darker as brighter) to 1 (bright clouds).
    ``shadow`` is the part of the glow that open lumens lack, and unstained vessels beside VEGF;
    ``hole_count`` holes of the tissue, which have no wall, lack most of it.
    """

    full_scale: int = 255
    background: float = 0.1
    signal: float = 0.25
    strength_spread: float = 0.3
    granularity: float = 0.2
    wall_face: float = 0.6
    gap_fraction: float = 0.03
    defocused_share: float = 0.25
    uneven_background: float = 0.2
    texture: float = 0.05
    mottle: float = 0.0
    mottle_px: float = 10.0
    mottle_skew: float = 0.0
    speck_count: int = 20
    nuclei: float = 0.3
    bleed: float = 0.03
    nuclear_signal: float = 0.3
    vessel_distractor: float = 0.0
    shadow: float = 0.0
    vignetting: float = 0.15
    blur_px: float = 0.9
    electrons: float = 1500.0
    read_noise: float = 0.004
    hole_count: int = 0

    def __post_init__(self) -> None:
        if self.full_scale not in (255, 65535):
            raise ValueError(f"full_scale is {self.full_scale}; give 255 or 65535")
        if self.hole_count < 0:
            raise ValueError(f"hole_count is {self.hole_count}; give 0 or more")
        if not self.electrons > 0:
            raise ValueError(f"electrons is {self.electrons}; give a positive number at full scale")

    @property
    def mottle_beside_signal(self) -> float:
        """Return the deviation of clouds where something is to be outlined: never as bright."""
        return min(self.mottle, _MOTTLE_OF_SIGNAL * self.signal)

    @property
    def weakest_cell(self) -> float:
        """Return the weakest strength of a cell that can be told from glow, clouds and noise."""
        noise_sd = float(np.hypot(np.sqrt(self.background / self.electrons), self.read_noise))
        return float(
            min(1.0, (1.5 * noise_sd + self.mottle_beside_signal) / max(self.signal, 1e-6) + 0.15)
        )

    @classmethod
    def draw(cls, rng: np.random.Generator, *, full_scale: int | None = None) -> FluorescenceStyle:
        """Draw a preparation and a camera: dim to bright, thick to thin, quiet to noisy."""
        background = float(np.exp(rng.uniform(np.log(0.02), np.log(0.25))))
        read_noise = float(np.exp(rng.uniform(np.log(0.002), np.log(0.012))))
        electrons = float(np.exp(rng.uniform(np.log(400), np.log(8000))))
        noise_sd = float(np.hypot(np.sqrt(background / electrons), read_noise))
        clouds = rng.random() < 0.65
        mottle = noise_sd * float(np.exp(rng.uniform(np.log(0.4), np.log(5.0)))) if clouds else 0.0
        # Clouds are more or less of a glow that is there: a deviation of half of it is never dark.
        mottle = min(mottle, _MOTTLE_OF_GLOW * background)
        signal = background * float(np.exp(rng.uniform(np.log(0.35), np.log(4.0))))
        # A small field of an even section under corrected light has nothing but its clouds.
        uneven = float(rng.uniform(0.0, 0.1) if rng.random() < 0.35 else 1.0)
        return cls(
            full_scale=int(rng.choice([255, 65535])) if full_scale is None else full_scale,
            background=background,
            signal=float(min(max(signal, 3.5 * read_noise), 0.8)),
            strength_spread=float(rng.uniform(0.15, 0.4)),
            granularity=float(rng.uniform(0.08, 0.4)),
            wall_face=float(rng.uniform(0.1, 1.0)),
            gap_fraction=_sometimes(rng, 0.5, 0.0, 0.12),
            defocused_share=_sometimes(rng, 0.5, 0.0, 0.5),
            uneven_background=uneven * float(rng.uniform(0.05, 0.4)),
            texture=uneven * float(rng.uniform(0.01, 0.12)),
            mottle=mottle,
            mottle_px=_cloud_px(rng),
            mottle_skew=_sometimes(rng, 0.6, 0.2, 1.0),
            speck_count=int(rng.poisson(rng.choice([2, 15, 60]))),
            nuclei=float(rng.uniform(0.1, 0.7)),
            bleed=_sometimes(rng, 0.5, 0.0, 0.12),
            nuclear_signal=float(rng.uniform(0.0, 0.9)),
            vessel_distractor=_sometimes(rng, 0.5, 0.05, 0.25),
            shadow=_sometimes(rng, 0.5, 0.1, 0.7),
            vignetting=uneven * float(rng.uniform(0.0, 0.35)),
            blur_px=float(rng.uniform(0.5, 1.8) if rng.random() < 0.75 else rng.uniform(1.8, 3.2)),
            electrons=electrons,
            read_noise=read_noise,
            hole_count=_hole_count(rng),
        )


def _sometimes(rng: np.random.Generator, chance: float, low: float, high: float) -> float:
    """Return a number between low and high with a chance, else 0."""
    there, value = rng.random() < chance, float(rng.uniform(low, high))
    return value if there else 0.0


def _cloud_px(rng: np.random.Generator) -> float:
    """Draw how wide clouds are: of any width, or for a third as narrow as capillaries."""
    narrow, any_width = rng.uniform(3.0, 12.0), np.exp(rng.uniform(np.log(2.5), np.log(45.0)))
    return float(narrow if rng.random() < 1 / 3 else any_width)


def _hole_count(rng: np.random.Generator) -> int:
    """Draw how many holes without a wall the tissue has: vacuoles of oedema, tears."""
    return int(rng.poisson(rng.choice([0.0, 3.0, 15.0], p=[0.65, 0.2, 0.15])))


def _varied_vectors(rng: np.random.Generator) -> StainVectors:
    """Draw vectors about the default, as chromogen batches and scanners vary.

    The ends are what nuclei and brown areas of published H-DAB fields measure: hematoxylin from
    violet to the clear blue of some scanners, DAB from reddish to yellowish brown.
    """
    default = StainVectors.default()
    blue = np.array(_HEMATOXYLINS[int(rng.integers(len(_HEMATOXYLINS)))])
    brown = np.array(_DABS[int(rng.integers(len(_DABS)))])
    spread = rng.uniform(0.0, 0.025)
    vectors = []
    for end, middle in ((blue, default.hematoxylin), (brown, default.dab)):
        mixed = np.asarray(middle) + rng.uniform(0.0, 1.0) * (end - np.asarray(middle))
        vectors.append(np.maximum(mixed + rng.normal(0, spread, 3), 0.05))
    return StainVectors.from_pair(vectors[0], vectors[1])
