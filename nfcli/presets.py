"""The model presets, as names and numbers: no jax here, so that listing them is instant.

A preset is a dequantization and a list of layers. `nfcli.flows.build` turns one into a model for a given image shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from nfcli.errors import UsageError

ALPHA = 1e-5
"""How far the logit transform stays away from 0 and 1 (the `a` of `v (1 - a) + a/2`)."""

SMOKE_HIDDEN = 8

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class MaskedCouplings:
    """A stack of affine couplings on one resolution; every other one uses the inverted mask."""

    count: int
    mask: Literal["checkerboard", "channel"]
    hidden: int


@dataclass(frozen=True)
class PartitionedCouplings:
    """A stack of couplings whose networks see one half and answer for the other, without zeros in between.

    Attributes:
        count: Layers; every other one swaps the halves.
        mask: How the halves lie; "patch" takes rows, columns and diagonals of the patches of the squeeze before, each
            of them for two couplings.
        hidden: Channels of the networks.
        transformer: What happens to each value: "affine", "mixture" (distribution function of a mixture of logistics)
            or "spline" (rational-quadratic).
        components: Logistics of the mixture, or pieces of the spline.
        blocks: Gated blocks of a network.
        heads: Of a self-attention after each block, 0 for none.
        actnorm: Put an activation normalization before each coupling.
        rotate: Put an invertible 1x1 convolution before each coupling.
    """

    count: int
    mask: Literal["checkerboard", "channel", "patch"]
    hidden: int
    transformer: Literal["affine", "mixture", "spline"] = "affine"
    components: int = 0
    blocks: int = 3
    heads: int = 0
    actnorm: bool = True
    rotate: bool = True


@dataclass(frozen=True)
class GaussianNoise:
    """Learned noise from a normal start: `count` affine couplings, and a network that looks at the image."""

    count: int
    hidden: int
    context: int
    blocks: int = 2


@dataclass(frozen=True)
class Squeeze:
    """Trade 2x2 pixels for 4 times the channels."""


@dataclass(frozen=True)
class Split:
    """Half of the channels are finished; the others go on.

    Attributes:
        hidden: Channels of the network of a learned prior of the finished half; 0 for a standard normal.
    """

    hidden: int = 0


Layer = MaskedCouplings | PartitionedCouplings | Squeeze | Split


@dataclass(frozen=True)
class Preset:
    """One model family.

    Attributes:
        name: What the user types.
        summary: One line for listings.
        layers: From data to latent.
        dequantization: Of the variational dequantization, or None for uniform noise.
        reference_val_bpd, reference_test_bpd: Published results on MNIST, in bits per dimension (test with 8 noise
            draws; University of Amsterdam, deep-learning course, tutorial 11); None where nothing is published.
        reference_parameters: Number of parameters on 28x28x1.
        recipe: Settings of training that this preset wants wherever the user says nothing.
    """

    name: str
    summary: str
    layers: tuple[Layer, ...]
    dequantization: MaskedCouplings | GaussianNoise | None
    reference_val_bpd: float | None
    reference_test_bpd: float | None
    reference_parameters: int
    recipe: Mapping[str, Any] = field(default_factory=dict)

    def smoke_twin(self) -> Preset:
        """The same structure with networks of 8 channels: for trying the whole path in a minute, not for results."""
        narrow = tuple(
            layer if isinstance(layer, Squeeze) or not layer.hidden else replace(layer, hidden=SMOKE_HIDDEN)
            for layer in self.layers
        )
        noise = self.dequantization and replace(self.dequantization, hidden=SMOKE_HIDDEN)
        if isinstance(noise, GaussianNoise):
            noise = replace(noise, context=SMOKE_HIDDEN)
        return replace(self, layers=narrow, dequantization=noise)

    def latent_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        """Shape of each level's latent, the last level last, for images of `shape` (H, W, C).

        Raises:
            UsageError: A squeeze meets an odd height or width, or channels are to be halved and there is one.
        """
        height, width, channels = shape
        if min(shape) < 1:
            raise UsageError(f"images of {height}x{width}x{channels} are empty")
        if isinstance(self.dequantization, GaussianNoise) and (height % 2 or width % 2):
            raise self._cannot_squeeze(shape)
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
            elif isinstance(layer, PartitionedCouplings) and layer.mask == "checkerboard" and width % 2:
                raise self._cannot_squeeze(shape)
        return (*finished, (height, width, channels))

    def _cannot_squeeze(self, shape: Shape) -> UsageError:
        factor = 2 ** max(1, sum(isinstance(layer, Squeeze) for layer in self.layers))
        return UsageError(
            f"preset '{self.name}' cannot squeeze images of {'x'.join(map(str, shape))}",
            hint=f"height and width must be multiples of {factor}; use --resize or --crop, or preset 'simple'",
        )


VARIATIONAL = MaskedCouplings(count=4, mask="checkerboard", hidden=16)

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="simple",
            summary="8 checkerboard couplings, uniform dequantization",
            layers=(MaskedCouplings(8, "checkerboard", 32),),
            dequantization=None,
            reference_val_bpd=1.080,
            reference_test_bpd=1.078,
            reference_parameters=556_312,
        ),
        Preset(
            name="vardeq",
            summary="simple, with variational dequantization",
            layers=(MaskedCouplings(8, "checkerboard", 32),),
            dequantization=VARIATIONAL,
            reference_val_bpd=1.043,
            reference_test_bpd=1.041,
            reference_parameters=628_388,
        ),
        Preset(
            name="multiscale",
            summary="three resolutions with a split, variational dequantization",
            layers=(
                MaskedCouplings(2, "checkerboard", 32),
                Squeeze(),
                MaskedCouplings(2, "channel", 48),
                Split(),
                Squeeze(),
                MaskedCouplings(4, "channel", 64),
            ),
            dequantization=VARIATIONAL,
            reference_val_bpd=1.023,
            reference_test_bpd=1.021,
            reference_parameters=1_711_818,
        ),
        # Flow++'s couplings (arXiv:1902.00275) at the two resolutions where they cost little, without 1x1 convolutions:
        # networks that see whole pixels do better. `python -m tests.benchmarks.ablation` measures each ingredient.
        Preset(
            name="mixture",
            summary="mixture-of-logistics couplings, a split with a learned prior, noise from a normal start",
            layers=(
                Squeeze(),
                PartitionedCouplings(4, "patch", 40, transformer="mixture", components=6, blocks=2, rotate=False),
                Split(hidden=32),
                Squeeze(),
                PartitionedCouplings(6, "patch", 64, transformer="mixture", components=6, blocks=2, rotate=False),
            ),
            dequantization=GaussianNoise(4, hidden=32, context=32),
            reference_val_bpd=None,
            reference_test_bpd=None,
            reference_parameters=2_266_004,
            recipe={
                "batch_size": 64,
                "learning_rate": 2e-3,
                "schedule": "cosine",
                "warmup_steps": 500,
                "ema_decay": 0.999,
            },
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
