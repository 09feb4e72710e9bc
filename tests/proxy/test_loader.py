"""Batches on a device, gathered in place or ahead of time."""

import threading
from collections.abc import Iterator

import pytest
import torch

from cmt_search.proxy import data as data_module
from cmt_search.proxy.data import BatchLoader, ImageSet, fits_in_memory

CPU = torch.device("cpu")


def _part(count: int = 40) -> ImageSet:
    values = torch.arange(count, dtype=torch.uint8)
    return ImageSet(images=values[:, None, None, None].expand(-1, 1, 2, 2), labels=values.long())


def _loader(images: ImageSet, *, resident: bool, device: torch.device = CPU) -> BatchLoader:
    return BatchLoader(images=images, device=device, resident=resident)


def _order(steps: int = 5, batch: int = 8) -> torch.Tensor:
    return torch.randperm(40, generator=torch.Generator().manual_seed(1)).view(steps, batch)


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("loader")]


@pytest.mark.parametrize("resident", [True, False])
def test_batches_are_the_images_of_each_row_in_order(resident: bool) -> None:
    loader = _loader(_part(), resident=resident)
    seen = list(loader.batches(_order()))
    assert [labels.tolist() for _, labels in seen] == _order().tolist()
    for images, labels in seen:
        assert images.shape == (8, 1, 2, 2)
        assert images.dtype == torch.uint8
        assert torch.equal(images.amax((1, 2, 3)).long(), labels)
    assert not _threads()


@pytest.mark.parametrize("resident", [True, False])
def test_rows_may_differ_in_length(resident: bool) -> None:
    loader = _loader(_part(10), resident=resident)
    sizes = [len(labels) for _, labels in loader.batches(torch.arange(10).split(4))]
    assert sizes == [4, 4, 2]


def test_an_error_while_reading_reaches_the_caller_and_ends_the_thread() -> None:
    loader = _loader(_part(), resident=False)
    batches = loader.batches(torch.tensor([[0, 1], [2, 40]]))
    assert next(batches)[1].tolist() == [0, 1]
    with pytest.raises(IndexError, match="out of bounds"):
        next(batches)
    assert not _threads()


def test_closing_the_iterator_ends_the_thread() -> None:
    batches: Iterator[object] = _loader(_part(), resident=False).batches(_order())
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

    batches = _loader(_part(), resident=False).batches(Order(torch.arange(40).split(1)))
    next(batches)
    assert len(taken) <= 4  # one given, two waiting, one in hand
    batches.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("resident", [True, False])
def test_a_subset_is_loaded_without_a_copy(resident: bool) -> None:
    part = _part().select(torch.arange(40) % 2 == 1)
    loader = _loader(part, resident=resident)
    assert loader.images is part
    images, labels = next(iter(loader.batches(torch.tensor([[3, 0]]))))
    assert labels.tolist() == images[:, 0, 0, 0].tolist() == [7, 1]


def test_sets_beyond_a_part_of_the_free_memory_of_a_gpu_do_not_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = torch.device("cuda", 0)
    for free, fits in ((400, True), (399, False)):  # of 40 images of 4 bytes
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (free, 10_000))
        assert fits_in_memory(_part(), gpu) is fits
    assert fits_in_memory(_part(), CPU)


def test_images_that_do_not_fit_are_read_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    assert BatchLoader.of(_part(), device=CPU).resident
    monkeypatch.setattr(data_module, "fits_in_memory", lambda images, device: False)
    assert BatchLoader.of(_part(), device=CPU).resident  # they are there
    assert not BatchLoader.of(_part(), device=torch.device("cuda", 0)).resident


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("resident", [True, False])
def test_a_gpu_gets_the_same_batches(resident: bool) -> None:
    device = torch.device("cuda", 0)
    loader = _loader(_part().to(device) if resident else _part(), device=device, resident=resident)
    seen = list(loader.batches(_order()))
    assert all(images.is_cuda and labels.is_cuda for images, labels in seen)
    assert [labels.tolist() for _, labels in seen] == _order().tolist()
    assert all(torch.equal(i.amax((1, 2, 3)).long(), labels) for i, labels in seen)
