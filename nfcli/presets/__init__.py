"""The model presets, as names and numbers: no jax here, so that listing them is instant.

A preset is a dequantization and a list of layers. `nfcli.flows.build` turns one into a model for a given image shape.
"""

from collections import UserDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from nfcli.errors import UsageError
from nfcli.limits import POSITIVE, setting, whole
from nfcli.presets.layers import GaussianNoise as GaussianNoise
from nfcli.presets.layers import Layer as Layer
from nfcli.presets.layers import MaskedCouplings as MaskedCouplings
from nfcli.presets.layers import PartitionedCouplings as PartitionedCouplings
from nfcli.presets.layers import Shape as Shape
from nfcli.presets.layers import Split as Split
from nfcli.presets.layers import Squeeze as Squeeze
from nfcli.presets.layers import shapes_along

ALPHA = 1e-5
"""How far the logit transform stays away from 0 and 1 (the `a` of `v (1 - a) + a/2`)."""

SMOKE_HIDDEN = 8


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
    reference_val_bpd: float | None = setting(None, check=POSITIVE)
    reference_test_bpd: float | None = setting(None, check=POSITIVE)
    reference_parameters: int | None = setting(None, check=whole())
    recipe: Mapping[str, Any] = field(default_factory=dict)

    def smoke_twin(self) -> "Preset":
        """The same structure with networks of 8 channels: for trying the whole path in a minute, not for results."""
        return replace(self, layers=tuple(map(_narrow, self.layers)), dequantization=_narrow(self.dequantization))

    def shapes(self, shape: Shape) -> tuple[list[Shape], tuple[Shape, ...]]:
        """Shape (H, W, C) that each layer gets for images of `shape`, and of each level's latent, the last level last.

        Raises:
            UsageError: A layer or the dequantization cannot take what it gets.
        """
        height, width, _ = shape
        size = "x".join(map(str, shape))
        if min(shape) < 1:
            raise UsageError(f"images of {size} are empty")
        try:
            if isinstance(self.dequantization, GaussianNoise):
                shapes_along([Squeeze()], shape)
            return shapes_along(self.layers, shape)
        except ValueError as error:
            factor = 2 ** max(1, sum(isinstance(layer, Squeeze) for layer in self.layers))
            if height % factor or width % factor:
                hint = f"height and width must be multiples of {factor}; use --resize or --crop, or preset 'simple'"
                raise UsageError(f"preset '{self.name}' cannot squeeze images of {size}", hint=hint) from error
            raise UsageError(f"preset '{self.name}' cannot take images of {size}: {error}") from error


def _narrow(spec: Any) -> Any:
    """A layer, or the dequantization, if any, with networks of few channels: a multiple of the heads of attention."""
    if spec is None:
        return None
    heads = getattr(spec, "heads", 0) or 1
    channels = heads * -(-SMOKE_HIDDEN // heads)
    return replace(spec, **{name: channels for name in ("hidden", "context") if getattr(spec, name, 0)})


class Shipped(UserDict[str, Preset]):
    """The presets that nf brings along, by name; their files are read when one is asked for."""

    names = ("simple", "vardeq", "multiscale", "mixture")

    def __init__(self) -> None:
        pass

    @cached_property
    def data(self) -> dict[str, Preset]:  # type: ignore[override]
        from nfcli.presets.definition import read_preset

        return {name: read_preset(Path(__file__).with_name(f"{name}.toml")) for name in self.names}


PRESETS = Shipped()


def get_preset(name: str, *, smoke: bool = False, definition: Mapping[str, Any] | None = None) -> Preset:
    """Look a preset up.

    Args:
        name: One of `PRESETS`, or of a preset file.
        smoke: Return its narrow twin instead.
        definition: What the preset file said, as config.json keeps it.

    Raises:
        UsageError: There is no such preset, or its definition makes no sense.
    """
    from nfcli.presets.definition import known, parse_preset

    if definition is not None:
        preset = parse_preset(name, definition, f"definition of preset '{name}'")
    elif name in PRESETS:
        preset = PRESETS[name]
    else:
        raise UsageError(f"unknown preset '{name}'", hint=f"{known(name, PRESETS, 'presets')}, or a .toml file")
    return preset.smoke_twin() if smoke else preset
