"""From a preset's words to layers."""

from __future__ import annotations

from typing import Any

from nfcli.flows.base import Bijection
from nfcli.flows.coupling import AffineCoupling
from nfcli.flows.dequantization import UniformDequantization, VariationalDequantization
from nfcli.flows.flow import Flow, MultiscaleTransform
from nfcli.flows.gaussian_noise import GaussianDequantization
from nfcli.flows.halves import PATCHES
from nfcli.flows.mixing import ActNorm, InvertibleConv1x1
from nfcli.flows.mixture import MixtureOfLogistics
from nfcli.flows.networks import Computing
from nfcli.flows.packed import PackedCoupling
from nfcli.flows.prior import LearnedPrior
from nfcli.flows.reshaping import Squeeze
from nfcli.flows.scalar import Affine, ScalarBijection
from nfcli.flows.spline import RationalQuadraticSpline
from nfcli.flows.weights import Weights
from nfcli.presets import Couplings, GaussianNoise, PackedCouplings, Preset, Shape, Split
from nfcli.presets import Squeeze as SqueezeSpec


class Assembly:
    """Makes the flow of a preset for images of one shape, as often as wanted.

    Args:
        preset: What to make.
        shape: (H, W, C).
        levels: Number of values of a pixel.
        alpha: Squash of the logit.
        classes: Of the labels, 0 for none.
        computing: How networks are computed.
    """

    def __init__(
        self, preset: Preset, shape: Shape, *, levels: int, alpha: float, classes: int, computing: Computing
    ) -> None:
        self.preset, self.shape = preset, shape
        self.levels, self.alpha, self.classes, self.computing = levels, alpha, classes, computing

    def flow(self, weights: Weights) -> Flow:
        """The flow, with initial weights from `weights`, asked for in an order that never changes."""
        return Flow(self._dequantization(weights), self._transform(weights))

    def _dequantization(self, weights: Weights) -> UniformDequantization:
        spec = self.preset.dequantization
        of_pixels: dict[str, Any] = {"levels": self.levels, "alpha": self.alpha}
        if spec is None:
            return UniformDequantization(**of_pixels)
        learned: dict[str, Any] = {
            **of_pixels,
            "couplings": spec.count,
            "hidden": spec.hidden,
            "classes": self.classes,
            "computing": self.computing,
            "weights": weights,
        }
        if isinstance(spec, GaussianNoise):
            return GaussianDequantization(self.shape, context=spec.context, blocks=spec.blocks, **learned)
        return VariationalDequantization(self.shape, **learned)

    def _transform(self, weights: Weights) -> MultiscaleTransform:
        height, width, channels = self.shape
        levels: list[list[Bijection]] = [[]]
        priors: dict[int, LearnedPrior] = {}
        for layer in self.preset.layers:
            if isinstance(layer, Couplings):
                levels[-1] += self._masked(layer, (height, width, channels), weights)
            elif isinstance(layer, PackedCouplings):
                number = sum(len(level) for level in levels)
                levels[-1] += self._packed(layer, (height, width, channels), number, weights)
            elif isinstance(layer, SqueezeSpec):
                levels[-1].append(Squeeze())
                height, width, channels = height // 2, width // 2, channels * 4
            else:
                if layer.hidden:
                    priors[len(levels) - 1] = self._prior(layer, channels, weights)
                levels.append([])
                channels -= channels // 2
        return MultiscaleTransform(levels, priors)

    def _masked(self, layer: Couplings, shape: Shape, weights: Weights) -> list[Bijection]:
        return [
            AffineCoupling(
                shape,
                mask=layer.mask,
                invert=bool(index % 2),
                hidden=layer.hidden,
                context_channels=self.classes,
                computing=self.computing,
                weights=weights,
            )
            for index in range(layer.count)
        ]

    def _packed(self, layer: PackedCouplings, shape: Shape, number: int, weights: Weights) -> list[Bijection]:
        made: list[Bijection] = []
        patches = tuple(PATCHES)
        for index in range(layer.count):
            if layer.actnorm:
                made.append(ActNorm(shape[-1]))
            if layer.rotate:
                made.append(InvertibleConv1x1(shape[-1], number + index))
            made.append(
                PackedCoupling(
                    shape,
                    mask=patches[index // 2 % 3] if layer.mask == "patch" else layer.mask,
                    invert=bool(index % 2),
                    scalar=_scalar(layer),
                    hidden=layer.hidden,
                    blocks=layer.blocks,
                    heads=layer.heads,
                    context_channels=self.classes,
                    computing=self.computing,
                    weights=weights,
                )
            )
        return made

    def _prior(self, layer: Split, channels: int, weights: Weights) -> LearnedPrior:
        finished = channels // 2
        return LearnedPrior(
            finished,
            channels - finished + self.classes,
            hidden=layer.hidden,
            computing=self.computing,
            weights=weights,
        )


def _scalar(layer: PackedCouplings) -> ScalarBijection:
    if layer.scalar == "mixture":
        return MixtureOfLogistics(layer.components)
    return RationalQuadraticSpline(layer.components) if layer.scalar == "spline" else Affine()
