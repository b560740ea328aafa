"""EfficientNet-Lite0: EfficientNet-B0 with ReLU6 and without squeeze and excitation.

Source: Tan and Le, ICML 2019, Table 1, and the Lite variants of the authors' repository. Borders are even on
both sides.
"""

from __future__ import annotations

from torch import Tensor, nn

from networks.blocks import conv_norm, eights

# expansion, kernel, stride of the first block, channels, blocks
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
EPS = 1e-3


class Block(nn.Module):
    """1x1, depth-wise and 1x1 convolutions, and the input added where it fits."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.adds = stride == 1 and inputs == outputs
        self.expand = (
            conv_norm(inputs, inner, 1, act=nn.ReLU6(), eps=EPS) if expansion != 1 else nn.Identity()
        )
        self.depthwise = conv_norm(inner, inner, kernel, stride, groups=inner, act=nn.ReLU6(), eps=EPS)
        self.project = conv_norm(inner, outputs, 1, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        if self.adds:
            y = y + x
        return y


class EfficientNetLite0(nn.Module):
    """The network for images [batch, 3, height, width]."""

    def __init__(self, width: float = 1.0, classes: int = 1000) -> None:
        super().__init__()
        channels = eights(32 * width)
        self.stem = conv_norm(3, channels, 3, 2, act=nn.ReLU6(), eps=EPS)
        blocks: list[nn.Module] = []
        for expansion, kernel, stride, planes, count in STAGES:
            outputs = eights(planes * width)
            for number in range(count):
                blocks.append(Block(channels, outputs, expansion, kernel, stride if number == 0 else 1))
                channels = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = conv_norm(channels, eights(1280 * width), 1, act=nn.ReLU6(), eps=EPS)
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(eights(1280 * width), classes)

    def forward(self, x: Tensor) -> Tensor:
        y = self.head(self.blocks(self.stem(x)))
        scores: Tensor = self.classifier(self.dropout(y.mean((2, 3))))
        return scores
