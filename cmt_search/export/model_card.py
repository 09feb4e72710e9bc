"""The model card of a variant: what it is, what it rests on, and what it is not for."""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from cmt_search.cost import cost
from cmt_search.export.source import Source

_TAGS = ["image-classification", "timm", "cmt", "neural-architecture-search"]
_USAGE = """\
```python
import timm
import cmt_search.builder  # registers the architecture

model = timm.create_model("local-dir:PATH_OF_THIS_FOLDER"{pretrained})
```

The same code with `hf-hub:OWNER/NAME` loads it from the Hub. timm alone does not know the
architecture; its scripts run with

```console
$ python -m cmt_search.timm train.py --model local-dir:PATH_OF_THIS_FOLDER --data-dir IMAGES
```"""


def format_card(source: Source) -> str:
    """Markdown with the front matter that the Hub reads."""
    parts = (
        _head(source),
        "## Budget and cost",
        *_budget(source),
        "## Rule",
        *_rule(source.variant.provenance),
        "## Evidence",
        *_evidence(source),
        "## How to use",
        _USAGE.format(pretrained="" if source.weights is None else ", pretrained=True"),
        "## Intended use",
        _intended(source),
        "## Limits",
        *_limits(source),
        "## Provenance",
        _provenance(source),
    )
    return "\n\n".join(parts) + "\n"


def _head(source: Source) -> str:
    front: dict[str, Any] = {
        **({} if source.license is None else {"license": source.license}),
        "library_name": "timm",
        "pipeline_tag": "image-classification",
        "tags": _TAGS,
    }
    text = yaml.safe_dump(front, sort_keys=False)
    return (
        f"---\n{text}---\n\n# {source.variant.name}\n\n"
        "An image classifier of the CMT family (convolution and attention, arXiv:2107.06263)"
        f"{_chosen(source.variant.provenance)}.\n\n**Weights:** {_weights(source)}"
    )


def _weights(source: Source) -> str:
    return "none; train the network from scratch." if source.weights is None else source.origin


def _chosen(provenance: Mapping[str, Any]) -> str:
    """Who chose its size, where that is known."""
    if preset := provenance.get("preset"):
        return f", of the size that `cmt_search` knows as `{preset}`"
    return "" if provenance.get("rule") is None else ", whose size `cmt_search` chose"


def _budget(source: Source) -> Iterator[str]:
    arch, whole = source.variant.arch, cost(source.variant.arch)
    budget = source.variant.provenance.get("budget")
    if budget:
        off = whole.macs / budget - 1
        side = "above" if off > 0 else "below"
        yield f"Solved for a budget of {budget:,} MACs; its own are {abs(off):.2%} {side} that."
    widths = "-".join(str(stage.width) for stage in arch.stages)
    depths = "-".join(str(stage.depth) for stage in arch.stages)
    rows = {
        "MACs (multiply-accumulates; CMT's paper calls them FLOPs)": f"{whole.macs:,}",
        "parameters": f"{whole.params:,}",
        "activations": f"{whole.activations:,}",
        "image": f"{arch.in_chans} x {arch.resolution} x {arch.resolution}",
        "classes": str(arch.num_classes),
        "blocks by stage": depths,
        "channels by stage": widths,
    }
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    yield "\n".join(["| | |", "|---|---|", *lines])


def _rule(provenance: Mapping[str, Any]) -> Iterator[str]:
    rule, shares = provenance.get("rule"), provenance.get("shares")
    if rule is None:
        yield "No scaling rule: a network as it was given."
        return
    yield f"Grown from its base by the rule `{rule}`" + (
        f": of the growth in log MACs, depth takes {shares['depth']:.2f}, width "
        f"{shares['width']:.2f} and resolution {shares['resolution']:.2f}."
        if isinstance(shares, Mapping)
        else "."
    )
    if realised := provenance.get("realised"):
        text = ", ".join(f"{share:.2f}" for share in realised)
        yield f"After rounding to whole blocks, channels and pixels the shares are {text}."


def _evidence(source: Source) -> Iterator[str]:
    evidence = source.variant.provenance.get("evidence")
    says = evidence.get("says", []) if isinstance(evidence, Mapping) else []
    if says:
        yield "What the search says of the rule:"
        yield "\n".join(f"- {sentence}" for sentence in says)
    elif top1 := source.variant.provenance.get("proxy_top1"):
        values = ", ".join(f"{value:.2%}" for value in top1)
        yield f"Measured in the search, on its cheap training: top1 {values}."
    else:
        yield "None: nothing was measured for this card."
    if source.weights is not None and (top1 := source.weights.training.get("top1")) is not None:
        yield f"These weights: top1 {top1:.2%} on {source.weights.training.get('images')} images."


def _intended(source: Source) -> str:
    if source.weights is None:
        under = (
            "under the compute budget" if source.variant.provenance.get("budget") else "at the cost"
        )
        return f"A start for training from scratch {under} above."
    return "Comparing architectures, and as a start for fine-tuning on similar images."


def _limits(source: Source) -> Iterator[str]:
    lines = []
    if source.weights is None:
        lines.append("This folder holds no weights: the model must be trained before it is used.")
    else:
        training = source.weights.training
        lines.append(
            f"Epochs of training: {training.get('epochs')}, on {training.get('dataset')}: "
            "a training of a search is made to rank networks, not to be accurate, "
            "and nothing is known of images of another kind."
        )
    provenance = source.variant.provenance
    if provenance.get("evidence") or provenance.get("proxy_top1"):
        lines.append(
            "The evidence is of a proxy, a short training on small images; that the ranking is the "
            "same at full training is an extrapolation."
        )
    lines += [
        "Images must have the size above, unless `set_input_size` resizes the position tables.",
        "Not examined for bias, robustness or calibration; not for decisions about people.",
    ]
    yield "\n".join(f"- {line}" for line in lines)


def _provenance(source: Source) -> str:
    """All of it but the evidence, whose sentences stand above and whose numbers in config.json."""
    kept = {k: v for k, v in source.variant.provenance.items() if k not in ("evidence", "laws")}
    training = {} if source.weights is None else {"training": dict(source.weights.training)}
    evidence = source.variant.provenance.get("evidence")
    run = {"run": evidence["run"]} if isinstance(evidence, Mapping) and "run" in evidence else {}
    text = yaml.safe_dump(
        {"key": source.variant.arch.key, **run, **kept, **training}, sort_keys=False, width=90
    )
    return f"```yaml\n{text}```"
