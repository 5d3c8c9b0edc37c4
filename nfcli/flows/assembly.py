"""From a preset's words to layers."""

from __future__ import annotations

from importlib import import_module
from typing import Any, assert_never

from nfcli.flows.base import Bijection
from nfcli.flows.coupling import MaskedCoupling, PartitionedCoupling
from nfcli.flows.dequantization import UniformDequantization, VariationalDequantization
from nfcli.flows.flow import Flow, MultiscaleTransform
from nfcli.flows.gaussian_noise import GaussianDequantization
from nfcli.flows.glow import ActNorm, InvertibleConv1x1
from nfcli.flows.initializers import Initializer
from nfcli.flows.networks import ComputePolicy
from nfcli.flows.partitions import PATCHES
from nfcli.flows.prior import LearnedPrior
from nfcli.flows.reshaping import Squeeze
from nfcli.flows.transformers import ScalarBijection
from nfcli.presets import GaussianNoise, MaskedCouplings, PartitionedCouplings, Preset, Shape, Split
from nfcli.presets import Squeeze as SqueezeSpec
from nfcli.presets.layers import TRANSFORMERS, partition_shapes


class Assembly:
    """Makes the flow of a preset for images of one shape, as often as wanted.

    Args:
        preset: What to make.
        shape: (H, W, C).
        levels: Number of values of a pixel.
        alpha: Squash of the logit.
        classes: Of the labels, 0 for none.
        policy: How networks are computed.
    """

    def __init__(
        self, preset: Preset, shape: Shape, *, levels: int, alpha: float, classes: int, policy: ComputePolicy
    ) -> None:
        self.preset, self.shape = preset, shape
        self.levels, self.alpha, self.classes, self.policy = levels, alpha, classes, policy

    def flow(self, initializer: Initializer) -> Flow:
        """The flow, with initial weights from `initializer`, asked for in an order that never changes."""
        return Flow(self._dequantization(initializer), self._transform(initializer))

    def _dequantization(self, initializer: Initializer) -> UniformDequantization:
        spec = self.preset.dequantization
        of_pixels: dict[str, Any] = {"levels": self.levels, "alpha": self.alpha}
        if spec is None:
            return UniformDequantization(**of_pixels)
        learned: dict[str, Any] = {
            **of_pixels,
            "couplings": spec.count,
            "hidden": spec.hidden,
            "classes": self.classes,
            "policy": self.policy,
            "initializer": initializer,
        }
        if isinstance(spec, GaussianNoise):
            return GaussianDequantization(self.shape, context=spec.context, blocks=spec.blocks, **learned)
        return VariationalDequantization(self.shape, **learned)

    def _transform(self, initializer: Initializer) -> MultiscaleTransform:
        levels: list[list[Bijection]] = [[]]
        priors: dict[int, LearnedPrior] = {}
        for layer, shape in zip(self.preset.layers, self.preset.shapes(self.shape)[0], strict=True):
            if isinstance(layer, MaskedCouplings):
                levels[-1] += self._masked(layer, shape, initializer)
            elif isinstance(layer, PartitionedCouplings):
                number = sum(len(level) for level in levels)
                levels[-1] += self._partitioned(layer, shape, number, initializer)
            elif isinstance(layer, SqueezeSpec):
                levels[-1].append(Squeeze())
            elif isinstance(layer, Split):
                if layer.hidden:
                    priors[len(levels) - 1] = self._prior(layer, shape, initializer)
                levels.append([])
            else:
                assert_never(layer)
        return MultiscaleTransform(levels, priors)

    def _masked(self, layer: MaskedCouplings, shape: Shape, initializer: Initializer) -> list[Bijection]:
        return [
            MaskedCoupling(
                shape,
                mask=layer.mask,
                invert=bool(index % 2),
                hidden=layer.hidden,
                context_channels=self.classes,
                policy=self.policy,
                initializer=initializer,
            )
            for index in range(layer.count)
        ]

    def _partitioned(
        self, layer: PartitionedCouplings, shape: Shape, number: int, initializer: Initializer
    ) -> list[Bijection]:
        made: list[Bijection] = []
        patches = tuple(PATCHES)
        for index in range(layer.count):
            if layer.actnorm:
                made.append(ActNorm(shape[-1]))
            if layer.rotate:
                made.append(InvertibleConv1x1(shape[-1], number + index))
            made.append(
                PartitionedCoupling(
                    shape,
                    mask=patches[index // 2 % 3] if layer.mask == "patch" else layer.mask,
                    invert=bool(index % 2),
                    transformer=_transformer(layer),
                    hidden=layer.hidden,
                    blocks=layer.blocks,
                    heads=layer.heads,
                    context_channels=self.classes,
                    policy=self.policy,
                    initializer=initializer,
                )
            )
        return made

    def _prior(self, layer: Split, shape: Shape, initializer: Initializer) -> LearnedPrior:
        finished, passing = partition_shapes(shape, "channel")
        return LearnedPrior(
            finished[-1],
            passing[-1] + self.classes,
            hidden=layer.hidden,
            policy=self.policy,
            initializer=initializer,
        )


def _transformer(layer: PartitionedCouplings) -> ScalarBijection:
    place, has_components = TRANSFORMERS[layer.transformer]
    module, name = place.split(".")
    kind = getattr(import_module(f"nfcli.flows.{module}"), name)
    made: ScalarBijection = kind(layer.components) if has_components else kind()
    return made
