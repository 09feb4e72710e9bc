"""Resizing position tables over both of their grids."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from cmt_search.builder import CMT
from cmt_search.builder.position import Grid, StageGrids, resize_table, stage_grids
from cmt_search.presets import PRESETS

OLD = StageGrids(queries=(4, 6), keys=(2, 3))
NEW = StageGrids(queries=(7, 5), keys=(4, 2))


def test_the_same_size_is_the_identity() -> None:
    table = torch.randn(2, 24, 6)
    assert torch.equal(resize_table(table, old=OLD, new=OLD), table)


def centres(grid: Grid) -> Tensor:
    rows, columns = ((torch.arange(side) + 0.5) / side for side in grid)
    return torch.cartesian_prod(rows, columns)


def smooth(heads: int, grids: StageGrids) -> Tensor:
    """Tables that fall with the distance between query and key, each head by its own height."""
    distances = torch.cdist(centres(grids.queries), centres(grids.keys))
    return torch.stack(
        [head * torch.exp(-((distances / 0.6) ** 2)) for head in range(1, heads + 1)]
    )


def noise(heads: int, grids: StageGrids) -> Tensor:
    return torch.randn(heads, *grids.tokens, generator=torch.Generator().manual_seed(0))


# Cubic interpolation smooths noise a little; tables of unrelated noise are 1.4 apart.
@pytest.mark.parametrize(("table_of", "tolerance"), [(smooth, 0.04), (noise, 0.25)])
def test_from_160_to_224_pixels_and_back_is_nearly_the_identity(
    table_of: Callable[[int, StageGrids], Tensor], tolerance: float
) -> None:
    arch = PRESETS["cmt_ti"]
    small, large = (stage_grids(arch, input_size=(side, side)) for side in (160, 224))
    for stage, old, new in zip(arch.stages, small, large, strict=True):
        table = table_of(stage.heads, old)
        there = resize_table(table, old=old, new=new)
        assert there.shape == (stage.heads, *new.tokens)
        back = resize_table(there, old=new, new=old)
        assert (back - table).norm() < tolerance * table.norm()


def test_a_smooth_table_resized_is_that_function_at_the_new_size() -> None:
    arch = PRESETS["cmt_ti"]
    small, large = (stage_grids(arch, input_size=(side, side)) for side in (160, 224))
    for stage, old, new in zip(arch.stages, small, large, strict=True):
        wanted = smooth(stage.heads, new)
        resized = resize_table(smooth(stage.heads, old), old=old, new=new)
        assert (resized - wanted).norm() < 0.04 * wanted.norm()


@pytest.mark.parametrize("name", ["cmt_ti", "cmt_s"])
def test_from_224_to_224_pixels_is_the_identity(name: str) -> None:
    arch = PRESETS[name]
    for stage, grids in zip(arch.stages, stage_grids(arch, input_size=(224, 224)), strict=True):
        table = noise(stage.heads, grids)
        assert torch.equal(resize_table(table, old=grids, new=grids), table)


def test_shape_and_dtype_are_those_of_the_new_grids() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        resized = resize_table(torch.randn(2, 24, 6, dtype=dtype), old=OLD, new=NEW)
        assert resized.shape == (2, 35, 8)
        assert resized.dtype == dtype


def test_a_constant_table_stays_constant() -> None:
    resized = resize_table(torch.full((1, 24, 6), 0.7), old=OLD, new=NEW)
    assert torch.allclose(resized, torch.full((1, 35, 8), 0.7), atol=1e-6)


def test_queries_and_keys_are_resized_independently() -> None:
    queries, keys = torch.randn(24), torch.randn(6)
    one_key = StageGrids(queries=OLD.queries, keys=(1, 1))
    new_queries = StageGrids(queries=NEW.queries, keys=(1, 1))
    one_query = StageGrids(queries=(1, 1), keys=OLD.keys)
    new_keys = StageGrids(queries=(1, 1), keys=NEW.keys)
    by_query = resize_table(queries.reshape(1, 24, 1), old=one_key, new=new_queries)
    by_key = resize_table(keys.reshape(1, 1, 6), old=one_query, new=new_keys)
    both = resize_table(torch.outer(queries, keys)[None], old=OLD, new=NEW)
    assert torch.allclose(both, by_query * by_key, atol=1e-5)


def test_rows_and_columns_of_a_rectangle_keep_their_places() -> None:
    by_row = torch.arange(4.0)[:, None].expand(4, 6).reshape(1, 24, 1).expand(1, 24, 6)
    resized = resize_table(by_row, old=OLD, new=NEW).reshape(7, 5, 8)
    assert torch.allclose(resized, resized[:, :1, :1].expand_as(resized), atol=1e-6)
    assert (resized[1:, 0, 0] > resized[:-1, 0, 0]).all()


@pytest.mark.parametrize("size", [20, (28, 20), (9, 33)])
def test_set_input_size_resizes_every_table(size: int | tuple[int, int]) -> None:
    arch = PRESETS["cmt_pico"]
    model = CMT(arch).eval()
    model.set_input_size(size)
    pair = (size, size) if isinstance(size, int) else size
    fresh = CMT(arch, input_size=pair)
    shapes = {name: p.shape for name, p in model.named_parameters()}
    assert shapes == {name: p.shape for name, p in fresh.named_parameters()}
    assert model.input_size == pair
    assert model(torch.zeros(1, arch.in_chans, *pair)).shape == (1, arch.num_classes)


def test_setting_the_present_size_keeps_the_very_parameters() -> None:
    model = CMT(PRESETS["cmt_pico"])
    before = dict(model.named_parameters())
    model.set_input_size(model.input_size)
    assert all(parameter is before[name] for name, parameter in model.named_parameters())


def test_resized_tables_stay_trainable() -> None:
    model = CMT(PRESETS["cmt_pico"])
    model.set_input_size(21)
    model(torch.randn(2, model.in_chans, 21, 21)).sum().backward()
    assert all(p.grad is not None for n, p in model.named_parameters() if n.endswith("position"))


@pytest.mark.parametrize("position", ["stage", "block"])
def test_every_stage_or_block_has_a_table_of_its_own_to_resize(position: str) -> None:
    arch = replace(PRESETS["cmt_pico"], position=position)
    model = CMT(arch)
    before = {k: v.clone() for k, v in model.state_dict().items() if k.endswith("position")}
    assert len(before) == (len(arch.stages) if position == "stage" else arch.depth)
    model.set_input_size((28, 20))
    old, new = (stage_grids(arch, input_size=size) for size in ((14, 14), (28, 20)))
    after = model.state_dict()
    for key, table in before.items():
        stage = int(key.split(".")[1])
        assert after[key].is_contiguous()  # as safetensors wants it
        assert torch.equal(after[key], resize_table(table, old=old[stage], new=new[stage]))
