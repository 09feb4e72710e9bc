"""Resizing position tables over both of their grids."""

import pytest
import torch

from cmt_search.builder import build
from cmt_search.builder.position import StageGrids, resize_table
from cmt_search.presets import PRESETS

OLD = StageGrids(queries=(4, 6), keys=(2, 3))
NEW = StageGrids(queries=(7, 5), keys=(4, 2))


def test_the_same_size_is_the_identity() -> None:
    table = torch.randn(2, 24, 6)
    assert torch.equal(resize_table(table, old=OLD, new=OLD), table)


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
    model = build(arch).eval()
    model.set_input_size(size)
    pair = (size, size) if isinstance(size, int) else size
    fresh = build(arch, input_size=pair)
    shapes = {name: p.shape for name, p in model.named_parameters()}
    assert shapes == {name: p.shape for name, p in fresh.named_parameters()}
    assert model.input_size == pair
    assert model(torch.zeros(1, arch.in_chans, *pair)).shape == (1, arch.num_classes)


def test_setting_the_present_size_keeps_the_very_parameters() -> None:
    model = build(PRESETS["cmt_pico"])
    before = dict(model.named_parameters())
    model.set_input_size(model.input_size)
    assert all(parameter is before[name] for name, parameter in model.named_parameters())


def test_resized_tables_stay_trainable() -> None:
    model = build(PRESETS["cmt_pico"])
    model.set_input_size(21)
    model(torch.randn(2, model.in_chans, 21, 21)).sum().backward()
    assert all(p.grad is not None for n, p in model.named_parameters() if n.endswith("position"))
