"""What the axes of the front may show."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A column of the table of networks, and how an axis shows it."""

    short: str  # on the control
    label: str  # on the axis
    scale: float = 1.0  # shown value / stored value
    count: bool = True  # a large whole number, which takes prefixes


METRICS = {
    "macs": Metric(short="MACs", label="MACs per image"),
    "params": Metric(short="params", label="parameters"),
    "activations": Metric(short="activations", label="activations per image"),
    "top1": Metric(short="top-1", label="top-1 accuracy (%)", scale=100, count=False),
    "loss": Metric(short="loss", label="validation cross-entropy (nats)", count=False),
}
