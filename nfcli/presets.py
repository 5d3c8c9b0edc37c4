"""The model presets, as names and numbers: no jax here, so that listing them is instant.

A preset is a dequantization and a list of layers. `nfcli.flows.build` turns one into a model for a given image shape.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from nfcli.errors import UsageError

ALPHA = 1e-5
"""How far the logit transform stays away from 0 and 1 (the `a` of `v (1 - a) + a/2`)."""

SMOKE_HIDDEN = 8

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Couplings:
    """A stack of affine couplings on one resolution; every other one uses the inverted mask."""

    count: int
    mask: Literal["checkerboard", "channel"]
    hidden: int


@dataclass(frozen=True)
class Squeeze:
    """Trade 2x2 pixels for 4 times the channels."""


@dataclass(frozen=True)
class Split:
    """Half of the channels are finished; the others go on."""


Layer = Couplings | Squeeze | Split


@dataclass(frozen=True)
class Preset:
    """One model family.

    Attributes:
        name: What the user types.
        summary: One line for listings.
        layers: From data to latent.
        dequantization: Couplings of the variational dequantization, or None for uniform noise.
        reference_val_bpd, reference_test_bpd: Published results on MNIST, in bits per dimension (test with 8 noise
            draws; University of Amsterdam, deep-learning course, tutorial 11).
        reference_parameters: Number of parameters on 28x28x1.
    """

    name: str
    summary: str
    layers: tuple[Layer, ...]
    dequantization: Couplings | None
    reference_val_bpd: float
    reference_test_bpd: float
    reference_parameters: int

    def smoke_twin(self) -> Preset:
        """The same structure with networks of 8 channels: for trying the whole path in a minute, not for results."""
        narrow = tuple(
            replace(layer, hidden=SMOKE_HIDDEN) if isinstance(layer, Couplings) else layer for layer in self.layers
        )
        dequantization = self.dequantization and replace(self.dequantization, hidden=SMOKE_HIDDEN)
        return replace(self, layers=narrow, dequantization=dequantization)

    def latent_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        """Shape of each level's latent, the last level last, for images of `shape` (H, W, C).

        Raises:
            UsageError: A squeeze meets an odd height or width, or channels are to be halved and there is one.
        """
        height, width, channels = shape
        if min(shape) < 1:
            raise UsageError(f"images of {height}x{width}x{channels} are empty")
        finished: list[Shape] = []
        for layer in self.layers:
            if isinstance(layer, Squeeze):
                if height % 2 or width % 2:
                    raise self._cannot_squeeze(shape)
                height, width, channels = height // 2, width // 2, channels * 4
            elif channels < 2 and (isinstance(layer, Split) or layer.mask == "channel"):
                raise UsageError(f"preset '{self.name}' cannot halve the 1 channel of {height}x{width}x1")
            elif isinstance(layer, Split):
                finished.append((height, width, channels // 2))
                channels -= channels // 2
        return (*finished, (height, width, channels))

    def _cannot_squeeze(self, shape: Shape) -> UsageError:
        factor = 2 ** sum(isinstance(layer, Squeeze) for layer in self.layers)
        return UsageError(
            f"preset '{self.name}' cannot squeeze images of {'x'.join(map(str, shape))}",
            hint=f"height and width must be multiples of {factor}; use --resize or --crop, or preset 'simple'",
        )


VARIATIONAL = Couplings(count=4, mask="checkerboard", hidden=16)

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="simple",
            summary="8 checkerboard couplings, uniform dequantization",
            layers=(Couplings(8, "checkerboard", 32),),
            dequantization=None,
            reference_val_bpd=1.080,
            reference_test_bpd=1.078,
            reference_parameters=556_312,
        ),
        Preset(
            name="vardeq",
            summary="simple, with variational dequantization",
            layers=(Couplings(8, "checkerboard", 32),),
            dequantization=VARIATIONAL,
            reference_val_bpd=1.043,
            reference_test_bpd=1.041,
            reference_parameters=628_388,
        ),
        Preset(
            name="multiscale",
            summary="three resolutions with a split, variational dequantization",
            layers=(
                Couplings(2, "checkerboard", 32),
                Squeeze(),
                Couplings(2, "channel", 48),
                Split(),
                Squeeze(),
                Couplings(4, "channel", 64),
            ),
            dequantization=VARIATIONAL,
            reference_val_bpd=1.023,
            reference_test_bpd=1.021,
            reference_parameters=1_711_818,
        ),
    )
}


def get_preset(name: str, *, smoke: bool = False) -> Preset:
    """Look a preset up.

    Args:
        name: One of `PRESETS`.
        smoke: Return its narrow twin instead.

    Raises:
        UsageError: There is no such preset.
    """
    if name not in PRESETS:
        from difflib import get_close_matches

        close = get_close_matches(name, PRESETS, n=1)
        known = "presets: " + ", ".join(PRESETS)
        raise UsageError(f"unknown preset '{name}'", hint=f"did you mean '{close[0]}'? {known}" if close else known)
    return PRESETS[name].smoke_twin() if smoke else PRESETS[name]
