"""The U-Net of denoising diffusion (Ho et al., 2020), with the parameter names of diffusers.

Only what UNet2DModel of diffusers builds for unconditional models is here: convolutions that halve
and double the size, and self-attention at chosen sizes.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearn.errors import UsageProblem

_LONGEST_PERIOD = 10_000
_MOST_CHANNELS = 8192
_MOST_LAYERS = 16


@dataclass(frozen=True)
class Shape:
    """The sizes of a U-Net, under the names and defaults of the config.json of diffusers.

    Raises UsageProblem for what this network does not have.
    """

    block_out_channels: tuple[int, ...]
    down_block_types: tuple[str, ...]
    up_block_types: tuple[str, ...]
    layers_per_block: int = 2
    attention_head_dim: int | None = 8
    norm_num_groups: int = 32
    norm_eps: float = 1e-5
    downsample_padding: int = 1
    flip_sin_to_cos: bool = True
    freq_shift: int = 0

    def __post_init__(self) -> None:
        known = {"DownBlock2D", "AttnDownBlock2D"}, {"UpBlock2D", "AttnUpBlock2D"}
        for types, allowed in zip((self.down_block_types, self.up_block_types), known, strict=True):
            if len(types) != len(self.block_out_channels) or not set(types) <= allowed:
                raise UsageProblem(
                    f"blocks {', '.join(types)} are not {len(self.block_out_channels)} of "
                    f"{' and '.join(sorted(allowed))}"
                )
        groups, head = self.norm_num_groups, self.attention_head_dim or 1
        for channels in self.block_out_channels:
            if not 4 <= channels <= _MOST_CHANNELS or channels % 2 or min(groups, head) < 1:
                raise UsageProblem(f"{channels} channels in {groups} groups cannot be built")
            if channels % groups or channels % head:
                raise UsageProblem(
                    f"{channels} channels do not fall into {groups} groups and heads of {head}"
                )
        if not 1 <= self.layers_per_block <= _MOST_LAYERS:
            raise UsageProblem(
                f"a block has 1 to {_MOST_LAYERS} layers, not {self.layers_per_block}"
            )
        if not {self.downsample_padding, self.freq_shift} <= {0, 1}:
            raise UsageProblem("downsample_padding and freq_shift are 0 or 1")

    @property
    def multiple(self) -> int:
        """The sides of pictures must be a multiple of this."""
        return 1 << (len(self.block_out_channels) - 1)

    def norm(self, channels: int) -> nn.GroupNorm:
        """Return a group norm of so many channels."""
        return nn.GroupNorm(self.norm_num_groups, channels, self.norm_eps)


class UNet(nn.Module):
    """Predict the noise in x_t: float (N, 3, S, S) near [-1, 1], t int64 (N,) counted from 0."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        widths, times = shape.block_out_channels, 4 * shape.block_out_channels[0]
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        self.time_embedding = TimeEmbedding(widths[0], times)
        self.down_blocks = nn.ModuleList()
        skips = [widths[0]]
        for level, kind in enumerate(shape.down_block_types):
            last = level == len(widths) - 1
            down = Down(shape, skips[-1], widths[level], attends="Attn" in kind, last=last)
            self.down_blocks.append(down)
            skips += [widths[level]] * (shape.layers_per_block + (not last))
        self.mid_block = Middle(shape, widths[-1])
        self.up_blocks = nn.ModuleList()
        below = widths[-1]
        for level, kind in zip(reversed(range(len(widths))), shape.up_block_types, strict=True):
            inputs = [below] + [widths[level]] * shape.layers_per_block
            inputs = [channels + skips.pop() for channels in inputs]
            up = Up(shape, inputs, widths[level], attends="Attn" in kind, last=not level)
            self.up_blocks.append(up)
            below = widths[level]
        self.conv_norm_out = shape.norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, noisy: Tensor, steps: Tensor) -> Tensor:
        times = self.time_embedding(self._waves(steps))
        hidden = self.conv_in(noisy)
        skips = [hidden]
        for down in self.down_blocks:
            hidden = down(hidden, times, skips)
        hidden = self.mid_block(hidden, times)
        for up in self.up_blocks:
            hidden = up(hidden, times, skips)
        noise: Tensor = self.conv_out(F.silu(self.conv_norm_out(hidden)))
        return noise

    def _waves(self, steps: Tensor) -> Tensor:
        """Return sines and cosines of t (N, C), as the transformer encodes positions."""
        half = self.shape.block_out_channels[0] // 2
        number = torch.arange(half, device=steps.device) / (half - self.shape.freq_shift)
        angles = steps[:, None] * torch.exp(-math.log(_LONGEST_PERIOD) * number)
        parts = [angles.sin(), angles.cos()]
        return torch.cat(parts[::-1] if self.shape.flip_sin_to_cos else parts, dim=1)


class TimeEmbedding(nn.Module):
    """Two linear layers that turn the waves of t into what each layer adds."""

    def __init__(self, waves: int, times: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(waves, times)
        self.linear_2 = nn.Linear(times, times)

    def forward(self, waves: Tensor) -> Tensor:
        times: Tensor = self.linear_2(F.silu(self.linear_1(waves)))
        return times


class Down(nn.Module):
    """Layers of one size, each remembered for the way up, then half the size unless last."""

    def __init__(self, shape: Shape, entry: int, width: int, *, attends: bool, last: bool) -> None:
        super().__init__()
        inputs = [entry] + [width] * (shape.layers_per_block - 1)
        self.resnets, self.attentions = _layers(shape, inputs, width, attends=attends)
        halve = [] if last else [Halve(width, shape.downsample_padding)]
        self.downsamplers = nn.ModuleList(halve)

    def forward(self, hidden: Tensor, times: Tensor, skips: list[Tensor]) -> Tensor:
        for residual, attention in zip(self.resnets, self.attentions, strict=True):
            hidden = attention(residual(hidden, times))
            skips.append(hidden)
        for halve in self.downsamplers:
            hidden = halve(hidden)
            skips.append(hidden)
        return hidden


class Middle(nn.Module):
    """Two layers at the smallest size with attention between them."""

    def __init__(self, shape: Shape, width: int) -> None:
        super().__init__()
        self.resnets, _ = _layers(shape, [width, width], width, attends=False)
        self.attentions = nn.ModuleList([Attention(shape, width)])

    def forward(self, hidden: Tensor, times: Tensor) -> Tensor:
        hidden = self.attentions[0](self.resnets[0](hidden, times))
        changed: Tensor = self.resnets[1](hidden, times)
        return changed


class Up(nn.Module):
    """Layers of one size, each beside what was remembered, then twice the size unless last.

    inputs are the channels that enter each layer, remembered ones included.
    """

    def __init__(
        self, shape: Shape, inputs: list[int], width: int, *, attends: bool, last: bool
    ) -> None:
        super().__init__()
        self.resnets, self.attentions = _layers(shape, inputs, width, attends=attends)
        self.upsamplers = nn.ModuleList([] if last else [Double(width)])

    def forward(self, hidden: Tensor, times: Tensor, skips: list[Tensor]) -> Tensor:
        for residual, attention in zip(self.resnets, self.attentions, strict=True):
            hidden = attention(residual(torch.cat([hidden, skips.pop()], dim=1), times))
        for double in self.upsamplers:
            hidden = double(hidden)
        return hidden


def _layers(
    shape: Shape, inputs: list[int], width: int, *, attends: bool
) -> tuple[nn.ModuleList, nn.ModuleList]:
    """Return residual layers and what follows each: attention, or nothing."""
    times = 4 * shape.block_out_channels[0]
    residuals = nn.ModuleList(Residual(shape, entry, width, times) for entry in inputs)
    after = (Attention(shape, width) if attends else nn.Identity() for _ in inputs)
    return residuals, nn.ModuleList(after)


class Residual(nn.Module):
    """Two convolutions after group norms, t added between them."""

    def __init__(self, shape: Shape, entry: int, width: int, times: int) -> None:
        super().__init__()
        self.norm1 = shape.norm(entry)
        self.conv1 = nn.Conv2d(entry, width, 3, padding=1)
        self.time_emb_proj = nn.Linear(times, width)
        self.norm2 = shape.norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(entry, width, 1) if entry != width else nn.Identity()

    def forward(self, hidden: Tensor, times: Tensor) -> Tensor:
        inside = self.conv1(F.silu(self.norm1(hidden)))
        inside = inside + self.time_emb_proj(F.silu(times))[:, :, None, None]
        inside = self.conv2(F.silu(self.norm2(inside)))
        changed: Tensor = self.conv_shortcut(hidden) + inside
        return changed


class Attention(nn.Module):
    """Every place looks at every other; heads of attention_head_dim channels (None: one head)."""

    def __init__(self, shape: Shape, width: int) -> None:
        super().__init__()
        self.heads = width // (shape.attention_head_dim or width)
        self.group_norm = shape.norm(width)
        self.to_q = nn.Linear(width, width)
        self.to_k = nn.Linear(width, width)
        self.to_v = nn.Linear(width, width)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, hidden: Tensor) -> Tensor:
        places = self.group_norm(hidden).flatten(2).transpose(1, 2)
        query, key, value = (
            layer(places).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer in (self.to_q, self.to_k, self.to_v)
        )
        seen = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        told: Tensor = self.to_out[0](seen)
        return hidden + told.transpose(1, 2).reshape(hidden.shape)


class Halve(nn.Module):
    """A convolution of stride 2."""

    def __init__(self, width: int, padding: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2, padding=padding)

    def forward(self, hidden: Tensor) -> Tensor:
        if self.conv.padding == (0, 0):
            hidden = F.pad(hidden, (0, 1, 0, 1))
        halved: Tensor = self.conv(hidden)
        return halved


class Double(nn.Module):
    """Each pixel four times, then a convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, hidden: Tensor) -> Tensor:
        doubled: Tensor = self.conv(F.interpolate(hidden, scale_factor=2.0, mode="nearest"))
        return doubled
