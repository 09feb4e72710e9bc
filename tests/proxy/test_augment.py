"""Crops and flips of a batch."""

import torch

from cmt_search.proxy.augment import augment

SIDE, MARGIN = 6, 2


def _padded(count: int = 64) -> torch.Tensor:
    """Each pixel of each image, margin included, has a value of its own."""
    side = SIDE + 2 * MARGIN
    rows, cols = torch.arange(side)[:, None] * 10, torch.arange(side)
    images = torch.stack([rows + cols, rows + cols + 100])  # channels differ by 100
    return images.to(torch.uint8).expand(count, 2, side, side).contiguous()


def _augment(
    padded: torch.Tensor, *, seed: int = 0, flip: bool = True, side: int = SIDE
) -> torch.Tensor:
    chosen = torch.arange(len(padded))
    generator = torch.Generator().manual_seed(seed)
    return augment(padded, chosen, side=side, flip=flip, generator=generator)


def test_every_result_is_a_window_of_its_image_or_the_mirror_of_one() -> None:
    out = _augment(_padded())
    assert out.shape == (64, 2, SIDE, SIDE)
    assert out.dtype == torch.uint8
    assert out.is_contiguous(memory_format=torch.channels_last)
    steps = out[:, 0].int().diff(dim=2)
    assert bool((out[:, 0].int().diff(dim=1) == 10).all())
    assert set(steps.unique().tolist()) == {-1, 1}
    assert bool((steps == steps[:, :1, :1]).all())  # an image is mirrored as a whole
    assert bool((out[:, 1].int() - out[:, 0].int() == 100).all())


def test_each_image_has_a_draw_of_its_own_and_every_shift_occurs() -> None:
    corners = _augment(_padded(), flip=False)[:, 0, 0, 0].tolist()
    shifts = {(value // 10, value % 10) for value in corners}
    assert {row for row, _ in shifts} == {col for _, col in shifts} == set(range(2 * MARGIN + 1))
    assert len(shifts) > 15


def test_about_half_of_the_images_are_mirrored_and_none_without_flip() -> None:
    def mirrored(flip: bool) -> int:
        out = _augment(_padded(400), flip=flip)[:, 0].int()
        return int((out[:, 0, 1] < out[:, 0, 0]).sum())

    assert 150 < mirrored(True) < 250
    assert mirrored(False) == 0


def test_the_same_seed_gives_the_same_images_and_another_does_not() -> None:
    padded = _padded()
    assert torch.equal(_augment(padded, seed=3), _augment(padded, seed=3))
    assert not torch.equal(_augment(padded, seed=3), _augment(padded, seed=4))


def test_images_come_in_the_order_they_were_chosen_in() -> None:
    padded = torch.arange(5, dtype=torch.uint8)[:, None, None, None].expand(5, 1, SIDE, SIDE)
    out = augment(
        padded, torch.tensor([3, 0, 3]), side=SIDE, flip=True, generator=torch.Generator()
    )
    assert out.amax((1, 2, 3)).tolist() == out.amin((1, 2, 3)).tolist() == [3, 0, 3]


def test_the_draws_do_not_depend_on_the_resolution() -> None:
    small = _augment(_padded(), flip=False)[:, 0, 0, 0] // 10
    large_padded = torch.arange(4 * MARGIN + SIDE)[:, None].expand(64, 1, -1, 4 * MARGIN + SIDE)
    large = _augment(large_padded, flip=False)[:, 0, 0, 0]  # twice the margin
    shift = (small.double() + 0.5) / (2 * MARGIN + 1), (large.double() + 0.5) / (4 * MARGIN + 1)
    assert float((shift[0] - shift[1]).abs().max()) < 1 / (2 * MARGIN + 1)
