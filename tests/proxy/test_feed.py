"""Batches on a device, gathered in place or ahead of time."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from cmt_search.proxy import loader as feed_module
from cmt_search.proxy.cache import SetCache, SetWriter
from cmt_search.proxy.data import ImageSet, available_memory, fits_in_memory
from cmt_search.proxy.loader import Feed

CPU = torch.device("cpu")


def _part(count: int = 40) -> ImageSet:
    values = torch.arange(count, dtype=torch.uint8)
    return ImageSet(images=values[:, None, None, None].expand(-1, 1, 2, 2), labels=values.long())


def _stored(folder: Path) -> ImageSet:
    def build(writer: SetWriter) -> tuple[str, ...]:
        writer.add(_part().images, _part().labels)
        return ("a", "b")

    return ImageSet.of_stored(SetCache(folder=folder, limit=10**9).load("k", build), key="k")


def _order(steps: int = 5, batch: int = 8) -> torch.Tensor:
    return torch.randperm(40, generator=torch.Generator().manual_seed(1)).view(steps, batch)


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "feed"]


@pytest.mark.parametrize("resident", [True, False])
def test_batches_are_the_images_of_each_row_in_order(resident: bool) -> None:
    feed = Feed.of(_part(), device=CPU, resident=resident)
    seen = list(feed.batches(_order()))
    assert [labels.tolist() for _, labels in seen] == _order().tolist()
    for images, labels in seen:
        assert images.shape == (8, 1, 2, 2)
        assert images.dtype == torch.uint8
        assert torch.equal(images.amax((1, 2, 3)).long(), labels)
    assert not _threads()


@pytest.mark.parametrize("resident", [True, False])
def test_rows_may_differ_in_length(resident: bool) -> None:
    feed = Feed.of(_part(10), device=CPU, resident=resident)
    sizes = [len(labels) for _, labels in feed.batches(torch.arange(10).split(4))]
    assert sizes == [4, 4, 2]


def test_an_error_while_reading_reaches_the_caller_and_ends_the_thread() -> None:
    feed = Feed.of(_part(), device=CPU, resident=False)
    batches = feed.batches(torch.tensor([[0, 1], [2, 40]]))
    assert next(batches)[1].tolist() == [0, 1]
    with pytest.raises(IndexError, match="out of bounds"):
        next(batches)
    assert not _threads()


def test_closing_the_iterator_ends_the_thread() -> None:
    batches: Iterator[object] = Feed.of(_part(), device=CPU, resident=False).batches(_order())
    next(batches)
    assert len(_threads()) == 1
    batches.close()  # type: ignore[attr-defined]
    assert not _threads()


def test_reading_stays_a_few_batches_ahead() -> None:
    taken = []

    class Order(list):  # type: ignore[type-arg]
        def __iter__(self) -> Iterator[torch.Tensor]:
            for row in super().__iter__():
                taken.append(row)
                yield row

    batches = Feed.of(_part(), device=CPU, resident=False).batches(Order(torch.arange(40).split(1)))
    next(batches)
    assert len(taken) <= 4  # one given, two waiting, one in hand
    batches.close()  # type: ignore[attr-defined]


def test_images_of_the_cache_are_fed_without_being_copied_first(tmp_path: Path) -> None:
    part = _stored(tmp_path).keep(torch.arange(40) % 2 == 1)
    for resident in (True, False):
        feed = Feed.of(part, device=CPU, resident=resident)
        assert feed.part is part
        images, labels = next(iter(feed.batches(torch.tensor([[3, 0]]))))
        assert labels.tolist() == images[:, 0, 0, 0].tolist() == [7, 1]


def test_sets_beyond_half_of_the_free_memory_do_not_stay() -> None:
    free = available_memory()
    assert fits_in_memory(free // 4, CPU)
    assert not fits_in_memory(free, CPU)


def test_stored_images_that_do_not_fit_are_read_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = _stored(tmp_path)
    assert Feed.of(stored, device=CPU).resident
    monkeypatch.setattr(feed_module, "fits_in_memory", lambda size, device: False)
    assert not Feed.of(stored, device=CPU).resident
    assert Feed.of(_part(), device=CPU).resident  # in memory already


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("resident", [True, False])
def test_a_gpu_gets_the_same_batches(resident: bool) -> None:
    device = torch.device("cuda", 0)
    feed = Feed.of(_part(), device=device, resident=resident)
    seen = list(feed.batches(_order()))
    assert all(images.is_cuda and labels.is_cuda for images, labels in seen)
    assert [labels.tolist() for _, labels in seen] == _order().tolist()
    assert all(torch.equal(i.amax((1, 2, 3)).long(), labels) for i, labels in seen)
