"""From a preset's words to layers."""

from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass
from pkgutil import resolve_name
from typing import Any, assert_never

from nfcli.flows.base import Bijection
from nfcli.flows.coupling import MaskedCoupling, PartitionedCoupling
from nfcli.flows.dequantization import UniformDequantization, VariationalDequantization
from nfcli.flows.flow import Flow, MultiscaleTransform
from nfcli.flows.gaussian_noise import GaussianDequantization
from nfcli.flows.glow import ActNorm, InvertibleConv1x1
from nfcli.flows.initializers import Initializer
from nfcli.flows.networks import PLAIN, ComputePolicy
from nfcli.flows.partitions import PATCHES
from nfcli.flows.prior import LearnedPrior
from nfcli.flows.reshaping import Squeeze
from nfcli.flows.transformers import ScalarBijection
from nfcli.presets import ALPHA, GaussianNoise, MaskedCouplings, PartitionedCouplings, Preset, Shape, Split
from nfcli.presets import Squeeze as SqueezeSpec
from nfcli.presets.layers import TRANSFORMERS, partition_shapes


@dataclass(eq=False)
class Assembly:
    """Makes the flow of a preset for images of one shape, as often as wanted; takes what `nfcli.flows.build` does."""

    preset: Preset
    shape: Shape
    _: KW_ONLY
    levels: int = 256
    alpha: float = ALPHA
    classes: int = 0
    policy: ComputePolicy = PLAIN

    def make(self, initializer: Initializer) -> Flow:
        """The flow, with initial weights from `initializer`, asked for in an order that never changes."""
        network = {"policy": self.policy, "initializer": initializer}
        return Flow(self._dequantization(network), self._transform(network))

    def _dequantization(self, network: dict[str, Any]) -> UniformDequantization:
        sizes = self.preset.dequantization
        if sizes is None:
            return UniformDequantization(levels=self.levels, alpha=self.alpha)
        learned: dict[str, Any] = {"levels": self.levels, "alpha": self.alpha, "classes": self.classes, **network}
        if isinstance(sizes, GaussianNoise):
            return GaussianDequantization(self.shape, sizes, **learned)
        return VariationalDequantization(self.shape, couplings=sizes.count, hidden=sizes.hidden, **learned)

    def _transform(self, network: dict[str, Any]) -> MultiscaleTransform:
        levels: list[list[Bijection]] = [[]]
        priors: dict[int, LearnedPrior] = {}
        for layer, shape in zip(self.preset.layers, self.preset.shapes(self.shape)[0], strict=True):
            match layer:
                case MaskedCouplings() | PartitionedCouplings():
                    levels[-1] += self._couplings(layer, shape, sum(map(len, levels)), network)
                case SqueezeSpec():
                    levels[-1].append(Squeeze())
                case Split():
                    if layer.hidden:
                        finished, passing = (half[-1] for half in partition_shapes(shape, "channel"))
                        prior = LearnedPrior(finished, passing + self.classes, hidden=layer.hidden, **network)
                        priors[len(levels) - 1] = prior
                    levels.append([])
                case _:
                    assert_never(layer)
        return MultiscaleTransform(levels, priors)

    def _couplings(
        self, stack: MaskedCouplings | PartitionedCouplings, shape: Shape, number: int, network: dict[str, Any]
    ) -> Iterator[Bijection]:
        """A stack of couplings, and what goes before each; `number` layers are there already."""
        for index in range(stack.count):
            invert, sizes = bool(index % 2), {"hidden": stack.hidden, "context_channels": self.classes}
            if isinstance(stack, MaskedCouplings):
                yield MaskedCoupling(shape, mask=stack.mask, invert=invert, **sizes, **network)
                continue
            if stack.actnorm:
                yield ActNorm(shape[-1])
            if stack.rotate:
                yield InvertibleConv1x1(shape[-1], number + index)
            mask = tuple(PATCHES)[index // 2 % 3] if stack.mask == "patch" else stack.mask
            sizes |= {"blocks": stack.blocks, "heads": stack.heads}
            transformer = _transformer(stack)
            yield PartitionedCoupling(shape, mask=mask, invert=invert, transformer=transformer, **sizes, **network)


def _transformer(stack: PartitionedCouplings) -> ScalarBijection:
    place, has_components = TRANSFORMERS[stack.transformer]
    kind: Callable[..., ScalarBijection] = resolve_name(f"nfcli.flows.{place}")
    return kind(stack.components) if has_components else kind()
