"""The reference models in PyTorch, as a peer: channels_last, one optimizer step like the recipe's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tests.benchmarks.course import ALPHA, channels_mask, checkerboard


def concat_elu(x: torch.Tensor) -> torch.Tensor:
    """Both signs through an ELU."""
    return torch.cat([functional.elu(x), functional.elu(-x)], dim=1)


class ChannelNorm(nn.Module):
    """Layer normalization over channels of NCHW, without leaving its memory layout."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class GatedConv(nn.Module):
    """A residual block with a gate."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2 * channels, channels, 3, padding=1)
        self.gate = nn.Conv2d(2 * channels, 2 * channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value, gate = self.gate(concat_elu(self.conv(concat_elu(x)))).chunk(2, dim=1)
        return x + value * torch.sigmoid(gate)


class GatedConvNet(nn.Module):
    """The network of a coupling layer."""

    def __init__(self, inputs: int, hidden: int, out: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(inputs, hidden, 3, padding=1)
        self.blocks = nn.ModuleList([GatedConv(hidden) for _ in range(3)])
        self.norms = nn.ModuleList([ChannelNorm(hidden) for _ in range(3)])
        self.conv_out = nn.Conv2d(2 * hidden, out, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv_in(x)
        for block, norm in zip(self.blocks, self.norms, strict=True):
            x = norm(block(x))
        return self.conv_out(concat_elu(x))


class Coupling(nn.Module):
    """An affine coupling layer, data to latent; the mask is (1, C or 1, H or 1, W or 1)."""

    def __init__(self, mask: np.ndarray, channels: int, hidden: int, *, context: int = 0) -> None:
        super().__init__()
        self.register_buffer("mask", torch.from_numpy(mask.transpose(0, 3, 1, 2).copy()))
        self.network = GatedConvNet(channels + context, hidden, 2 * channels)
        self.scaling_factor = nn.Parameter(torch.zeros(channels))

    def forward(
        self, z: torch.Tensor, ldj: torch.Tensor, image: torch.Tensor | None = None, *, reverse: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        masked = z * self.mask
        s, t = self.network(masked if image is None else torch.cat([masked, image], dim=1)).chunk(2, dim=1)
        factor = self.scaling_factor.exp().view(1, -1, 1, 1)
        s = torch.tanh(s / factor) * factor * (1 - self.mask)
        t = t * (1 - self.mask)
        if reverse:
            return z * torch.exp(-s) - t, ldj
        return (z + t) * torch.exp(s), ldj + s.sum(dim=(1, 2, 3))


class Squeeze(nn.Module):
    """2x2 pixels to channels, in the order of the reference."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        batch, channels, height, width = z.shape
        z = z.reshape(batch, channels, height // 2, 2, width // 2, 2).permute(0, 3, 5, 1, 2, 4)
        return z.reshape(batch, 4 * channels, height // 2, width // 2).contiguous(memory_format=torch.channels_last)


def unsqueeze(z: torch.Tensor) -> torch.Tensor:
    """Channels to 2x2 pixels."""
    batch, channels, height, width = z.shape
    z = z.reshape(batch, 2, 2, channels // 4, height, width).permute(0, 3, 4, 1, 5, 2)
    return z.reshape(batch, channels // 4, 2 * height, 2 * width).contiguous(memory_format=torch.channels_last)


def logit(v: torch.Tensor, ldj: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Inverse sigmoid of what is squashed a little."""
    v = v * (1 - ALPHA) + 0.5 * ALPHA
    ldj = ldj + math.log(1 - ALPHA) * v[0].numel()
    return torch.log(v) - torch.log(1 - v), ldj + (-torch.log(v) - torch.log(1 - v)).sum(dim=(1, 2, 3))


def log_normal(z: torch.Tensor) -> torch.Tensor:
    """Of the standard normal, summed over an image."""
    return (-0.5 * z**2 - 0.5 * math.log(2 * math.pi)).sum(dim=(1, 2, 3))


class TorchFlow(nn.Module):
    """One of the three reference models; arguments as those of `CourseFlow`, and the images' shape (H, W, C)."""

    def __init__(self, layers: Sequence[Any], *, variational: bool, shape: tuple[int, int, int]) -> None:
        super().__init__()
        height, width, channels = shape
        self.noise = nn.ModuleList(
            [
                Coupling(checkerboard(height, width, bool(index % 2)), channels, 16, context=channels)
                for index in range(4 if variational else 0)
            ]
        )
        self.steps: list[str] = []
        self.couplings = nn.ModuleList()
        for layer in layers:
            if layer == "squeeze":
                height, width, channels = height // 2, width // 2, 4 * channels
                self.steps.append(layer)
            elif layer == "split":
                channels //= 2
                self.steps.append(layer)
            else:
                kind, count, hidden = layer
                for index in range(count):
                    invert = bool(index % 2)
                    square = kind == "checkerboard"
                    mask = checkerboard(height, width, invert) if square else channels_mask(channels, invert)
                    self.couplings.append(Coupling(mask, channels, hidden))
                    self.steps.append("coupling")
        self.latent = (channels, height, width)

    def forward(self, x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        """Bits per dimension of images with their uniform noise, both (B, C, H, W), to (B,)."""
        image, ldj = x.float(), torch.zeros(x.shape[0], device=x.device)
        if len(self.noise):
            n, ldj = logit(u, ldj)
            for coupling in self.noise:
                n, ldj = coupling(n, ldj, image / 255 * 2 - 1)
            ldj = ldj + (-functional.softplus(n) - functional.softplus(-n)).sum(dim=(1, 2, 3))
            u = torch.sigmoid(n)
        z, ldj = logit((image + u) / 256, ldj - math.log(256) * x[0].numel())
        couplings = iter(self.couplings)
        for step in self.steps:
            if step == "squeeze":
                z = Squeeze()(z)
            elif step == "split":
                z, finished = z.chunk(2, dim=1)
                ldj = ldj + log_normal(finished)
            else:
                z, ldj = next(couplings)(z, ldj)
        return -(ldj + log_normal(z)) / (math.log(2) * x[0].numel())

    def sample(self, count: int, device: str) -> torch.Tensor:
        """Images of new latents, (count, C, H, W)."""
        z = torch.randn(count, *self.latent, device=device).contiguous(memory_format=torch.channels_last)
        couplings, nothing = reversed(self.couplings), torch.zeros(count, device=device)
        for step in reversed(self.steps):
            if step == "squeeze":
                z = unsqueeze(z)
            elif step == "split":
                z = torch.cat([z, torch.randn_like(z)], dim=1)
            else:
                z, _ = next(couplings)(z, nothing, reverse=True)
        v = (torch.sigmoid(z) - 0.5 * ALPHA) / (1 - ALPHA)
        return torch.clamp(torch.floor(v * 256), 0, 255)

    def load_course(self, tree: dict[str, Any]) -> None:
        """Take over the parameters of a `CourseFlow`."""
        with torch.no_grad():
            for name, couplings in (("noise", self.noise), ("couplings", self.couplings)):
                for index, coupling in enumerate(couplings):
                    given = tree[f"{name}_{index}"]
                    coupling.scaling_factor.copy_(torch.from_numpy(np.array(given["scaling_factor"])))
                    _load_network(coupling.network, given["network"])


def _load_network(network: Any, tree: dict[str, Any]) -> None:
    pairs = [(network.conv_in, tree["conv_in"]), (network.conv_out, tree["conv_out"])]
    for index, block in enumerate(network.blocks):
        given = tree[f"blocks_{index}"]
        pairs += [(block.conv, given["conv"]), (block.gate, given["gate"])]
    for conv, given in pairs:
        conv.weight.copy_(torch.from_numpy(np.array(given["kernel"]).transpose(3, 2, 0, 1).copy()))
        conv.bias.copy_(torch.from_numpy(np.array(given["bias"])))
    for index, norm in enumerate(network.norms):
        norm.norm.weight.copy_(torch.from_numpy(np.array(tree[f"norms_{index}"]["scale"])))
        norm.norm.bias.copy_(torch.from_numpy(np.array(tree[f"norms_{index}"]["bias"])))
