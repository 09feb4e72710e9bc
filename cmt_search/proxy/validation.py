"""What an epoch gave: the mean of its losses, and the validation of the network."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmt_search.evaluation import TrainingFailed
from cmt_search.proxy.feed import Feed
from cmt_search.proxy.step import Normalise, forward

CALMER = "use a lower lr or clip_grad: 1"
_BATCH = 500  # images


def mean_loss(losses: Tensor, *, epoch: int) -> float:
    """Mean of the losses of an epoch's steps.

    They are looked at once per epoch: a look at each step would have a GPU wait for it.

    Raises:
        TrainingFailed: one is not finite.
    """
    broken = torch.nonzero(~losses.isfinite()).flatten().tolist()
    if broken:
        raise TrainingFailed(
            f"the loss became {losses[broken[0]].item()} in epoch {epoch}, step "
            f"{broken[0] + 1} of {len(losses)}; {CALMER}"
        )
    return float(losses.double().mean())


@torch.inference_mode()
def validate(model: nn.Module, feed: Feed, *, normalise: Normalise) -> tuple[float, Tensor]:
    """Unsmoothed cross-entropy on all images of a feed, and which of them are right, (N,) bool."""
    model.eval()
    order = torch.arange(len(feed.part)).split(_BATCH)
    pairs = [(forward(model, normalise(images)), labels) for images, labels in feed.batches(order)]
    logits, labels = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    return float(F.cross_entropy(logits.double(), labels)), logits.argmax(1) == labels
