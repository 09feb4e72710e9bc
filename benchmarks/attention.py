"""Attention with a table of biases: PyTorch's fused function against two products and a softmax.

    python benchmarks/attention.py --threads 1

Shapes are those of the stages of cmt_ti@160 and cmt_nano@64. `fused` is
`scaled_dot_product_attention` with the table as mask, `products` what `cmt_search.builder` runs on
a CPU, `literal` the same with scale and bias as operations of their own.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from harness import interleaved, machine, write
from torch import Tensor
from torch.nn import functional as F

from cmt_search.builder.layers import attend
from cmt_search.cost import sizes_of
from cmt_search.presets import PRESETS

CASES = {"cmt_ti": (160, 8), "cmt_nano": (64, 32)}  # preset: resolution, batch


def fused(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """As PyTorch offers it."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def literal(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """As the formula reads."""
    return (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5 + bias).softmax(-1) @ v


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    torch.set_num_threads(parser.parse_args().threads)
    torch.manual_seed(0)
    variants = {"literal": literal, "fused": fused, "products": attend}
    rows: list[dict[str, Any]] = []
    for preset, (resolution, batch) in CASES.items():
        sizes = sizes_of(replace(PRESETS[preset], resolution=resolution))
        for number, stage in enumerate(sizes.stages, 1):
            head_dim = stage.width // stage.heads
            shape = (batch, stage.heads, stage.tokens, stage.kv_tokens, head_dim)
            for kind in ("forward", "forward+backward"):
                runs = {n: a_run(f, shape, backward="+" in kind) for n, f in variants.items()}
                for run in runs.values():
                    run()
                timings = interleaved(runs, reference="literal", rounds=60, seconds=4)
                for name, timing in timings.items():
                    row = {
                        "preset": preset,
                        "stage": number,
                        "batch": batch,
                        "heads": stage.heads,
                        "queries": stage.tokens,
                        "keys": stage.kv_tokens,
                        "head_dim": head_dim,
                        "kind": kind,
                        "variant": name,
                        "ms": round(timing.seconds * 1e3, 3),
                        "ratio_to_literal": round(timing.ratio, 3),
                        "ratio_q1": round(timing.ratio_q1, 3),
                        "ratio_q3": round(timing.ratio_q3, 3),
                    }
                    rows.append({**machine(device="cpu"), **row})
                    print(*row.values(), flush=True)
    write("attention", rows, device="cpu")


def a_run(
    function: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor],
    shape: tuple[int, int, int, int, int],
    *,
    backward: bool,
) -> Callable[[], None]:
    """A call with tensors laid out as the projections leave them."""
    batch, heads, queries, keys, head_dim = shape
    q, k, v = (
        torch.randn(batch, count, heads, head_dim).transpose(1, 2)
        for count in (queries, keys, keys)
    )
    inputs = [q, k, v, torch.randn(heads, queries, keys)]
    inputs = [t.requires_grad_(backward) for t in inputs]
    upstream = torch.randn(batch, heads, queries, head_dim)

    def run() -> None:
        with torch.set_grad_enabled(backward):
            out = function(*inputs)
            if backward:
                torch.autograd.grad(out, inputs, upstream)

    return run


if __name__ == "__main__":
    main()
