"""What a preset is made of, as names and numbers, and the shapes that come of it. No jax here.

The only place that knows how a layer changes the shape of images, and which images it cannot take.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from nfcli.limits import setting, whole

Shape = tuple[int, int, int]
"""(H, W, C)."""

MaskKind = Literal["checkerboard", "channel"]
Halves = Literal["checkerboard", "channel", "patch"]

TRANSFORMERS = {
    "affine": ("transformers.Affine", False),
    "mixture": ("mixture.MixtureOfLogistics", True),
    "spline": ("spline.RationalQuadraticSpline", True),
}
"""What can happen to each value: where in `nfcli.flows` it is, and whether it is made with a number of components."""

COUNT, CHANNELS, FEW = whole(1, 256), whole(1, 4096), whole(0, 64)


@dataclass(frozen=True)
class MaskedCouplings:
    """A stack of affine couplings on one resolution; every other one uses the inverted mask.

    Attributes:
        count: Layers.
        mask: How the halves lie.
        hidden: Channels of the networks.
    """

    count: int = setting(check=COUNT)
    mask: MaskKind = setting(choices=("checkerboard", "channel"))
    hidden: int = setting(check=CHANNELS)


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

    count: int = setting(check=COUNT)
    mask: Halves = setting(choices=("checkerboard", "channel", "patch"))
    hidden: int = setting(check=CHANNELS)
    transformer: str = setting("affine", choices=tuple(TRANSFORMERS))
    components: int = setting(0, check=FEW)
    blocks: int = setting(3, check=FEW)
    heads: int = setting(0, check=FEW)
    actnorm: bool = True
    rotate: bool = True


@dataclass(frozen=True)
class Squeeze:
    """Trade 2x2 pixels for 4 times the channels."""


@dataclass(frozen=True)
class Split:
    """Half of the channels are finished; the others go on.

    Attributes:
        hidden: Channels of the network of a learned prior of the finished half; 0 for a standard normal.
    """

    hidden: int = setting(0, check=whole(0, 4096))


@dataclass(frozen=True)
class GaussianNoise:
    """Learned noise from a normal start: `count` affine couplings, and a network that looks at the image.

    Attributes:
        count: Layers.
        hidden: Channels of their networks.
        context: Channels of the network that looks at the image.
        blocks: Its gated blocks.
    """

    count: int = setting(check=COUNT)
    hidden: int = setting(check=CHANNELS)
    context: int = setting(check=CHANNELS)
    blocks: int = setting(2, check=FEW)


Layer = MaskedCouplings | PartitionedCouplings | Squeeze | Split


def partition_shapes(shape: Shape, kind: str) -> tuple[Shape, Shape]:
    """(H, W, C) of the two halves of images of `shape`: "checkerboard", "channel", or of squeezed 2x2 patches.

    Raises:
        ValueError: There are no such halves.
    """
    height, width, channels = shape
    if kind == "checkerboard":
        if width % 2:
            raise ValueError(f"a checkerboard of width {width} has no two equal halves")
        return (height, width // 2, channels), (height, width // 2, channels)
    if kind != "channel" and channels % 4:
        raise ValueError(f"{channels} channels are not those of 2x2 patches, which a squeeze makes")
    if channels < 2:
        raise ValueError("1 channel has no two halves; a squeeze makes 4 of it")
    return (height, width, channels // 2), (height, width, channels - channels // 2)


def shapes_along(layers: Sequence[Layer], shape: Shape) -> tuple[list[Shape], tuple[Shape, ...]]:
    """What images of a shape become: the shape that each layer gets, and that of each level's latent, the last last.

    Raises:
        ValueError: A layer cannot take what it gets.
    """
    before: list[Shape] = []
    finished: list[Shape] = []
    for layer in layers:
        before.append(shape)
        if isinstance(layer, Squeeze):
            height, width, channels = shape
            if height % 2 or width % 2:
                raise ValueError(f"{height}x{width} pixels cannot be squeezed")
            shape = (height // 2, width // 2, channels * 4)
        elif isinstance(layer, Split):
            done, shape = partition_shapes(shape, "channel")
            finished.append(done)
        elif isinstance(layer, PartitionedCouplings) or layer.mask == "channel":
            partition_shapes(shape, layer.mask)
    return before, (*finished, shape)
