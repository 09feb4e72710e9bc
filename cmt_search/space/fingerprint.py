"""What of a space decides its trials, without options that came later and are not used."""

import hashlib
import json
from typing import Any

from cmt_search.arch import Arch
from cmt_search.space.gauge import UNITS
from cmt_search.space.sections import PARETO_ONLY, Knobs, Proxy

_FIRST_OF_RECIPE = {  # what recipes had from the start; the rest came later
    *("batch", "lr", "weight_decay", "warmup_fraction", "label_smoothing"),
    *("drop_path", "clip_grad", "pos_std", "residual_scale"),
}
_FIRST_OF_DATASET = frozenset({"name", "size", "split"})  # likewise; root does not count


def fingerprint_of(data: dict[str, Any], *, base: Arch) -> str:
    """Hash of a space's plain values and its base network."""
    caps = data["caps"].items()
    data["caps"] = {k: v for k, v in caps if k not in UNITS or v is not None}  # came later
    data["proxy"]["dataset"].pop("root")  # the same images may lie elsewhere
    data["sampler"].pop("augmented")  # came later, and only adds to a design
    text = json.dumps(_without_unused(data, network=base.to_dict()), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _without_unused(data: dict[str, Any], *, network: dict[str, Any]) -> list[dict[str, Any]]:
    """Both without options that came later and are not used, so that older runs may be resumed."""

    def used(part: dict[str, Any], **unused: Any) -> dict[str, Any]:
        return {k: v for k, v in part.items() if k not in unused or v != unused[k]}

    base = {"position": None, "mlp_ratio": None, "qk_ratio": None, "kv_stride": None}
    knobs = Knobs().model_dump(include={"keep", *PARETO_ONLY})
    plain = Proxy().model_dump(mode="json")
    proxy = used(data["proxy"], image_scale=1.0, steps=None, seconds=None)
    for part, first in (("recipe", _FIRST_OF_RECIPE), ("dataset", _FIRST_OF_DATASET)):
        later = {name: value for name, value in plain[part].items() if name not in first}
        proxy[part] = used(proxy[part], **later)
    stages = [used(stage, qk_ratio=1.0) for stage in network["stages"]]
    parts = {
        "base": used(data["base"], **base),
        "knobs": used(data["knobs"], **knobs),
        "sampler": used(data["sampler"], population=None),
    }
    return [
        {**data, **parts, "proxy": proxy},
        {**used(network, position="stage"), "stages": stages},
    ]
