"""Exported variants: what goes out comes back, and what was changed is noticed."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

import cmt_search
from cmt_search.cost import cost
from cmt_search.errors import ExportError
from cmt_search.export import FORMATS, Source, Variant, export
from cmt_search.export.reading import load_variant
from cmt_search.export.rebuilding import Rebuilt
from cmt_search.presets import PRESETS
from tests.builder.tiny import TINY
from tests.export.conftest import EDIT, edited, variant, weights, with_position

CHEAP = [name for name in FORMATS if name != "onnx"]  # see test_onnx.py
KEEPING = [name for name in CHEAP if FORMATS[name].keeps_weights]


@pytest.mark.parametrize("kind", CHEAP)
@pytest.mark.parametrize("position", ["stage", "block", "none"])
def test_what_was_exported_loads_with_key_params_macs_and_provenance(
    kind: str, position: str, tmp_path: Path
) -> None:
    arch = with_position(position, num_classes=0 if position == "none" else 5)
    path = export(Source(variant=variant(arch)), format=kind, folder=tmp_path)
    found = load_variant(path)
    assert cmt_search.load(str(path)) == arch
    assert found == variant(arch)
    assert cost(found.arch) == cost(arch)
    assert not list(tmp_path.glob(".*")), "nothing is left of the staging"


@pytest.mark.parametrize("kind", ["timm"])  # a second each
def test_a_published_network_exports(kind: str, tmp_path: Path) -> None:
    source = Source(variant=Variant(name="cmt_ti", arch=PRESETS["cmt_ti"]))
    assert cmt_search.load(export(source, format=kind, folder=tmp_path)) == PRESETS["cmt_ti"]


@pytest.mark.parametrize("kind", KEEPING)
def test_weights_come_back_bit_for_bit(kind: str, learned: Source, tmp_path: Path) -> None:
    path = export(learned, format=kind, folder=tmp_path)
    found = cmt_search.load_weights(path)
    assert learned.weights is not None
    assert list(found) == list(learned.weights.state)
    assert all(torch.equal(found[k], v) for k, v in learned.weights.state.items())


@pytest.mark.parametrize("kind", ["yaml", "timm", "python"])
def test_without_weights_there_are_none_to_load(kind: str, fresh: Source, tmp_path: Path) -> None:
    path = export(fresh, format=kind, folder=tmp_path)
    with pytest.raises(ExportError, match=r"holds no weights; (export the variant again|give a)"):
        cmt_search.load_weights(path)


@pytest.mark.parametrize("kind", CHEAP)
def test_the_same_again_is_no_overwriting(kind: str, learned: Source, tmp_path: Path) -> None:
    first = export(learned, format=kind, folder=tmp_path)
    assert export(learned, format=kind, folder=tmp_path) == first


@pytest.mark.parametrize("kind", CHEAP)
def test_something_else_is_overwritten_only_on_demand(
    kind: str, fresh: Source, tmp_path: Path
) -> None:
    other = Source(variant=variant(with_position("block")), weights=weights(with_position("block")))
    path = export(other, format=kind, folder=tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(ExportError, match=r"best.* exists and holds something else; add --force"):
        export(fresh, format=kind, folder=tmp_path)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    assert export(fresh, format=kind, folder=tmp_path, force=True) == path
    assert cmt_search.load(path) == TINY


@pytest.mark.parametrize("kind", ["timm", "python"])
def test_weights_of_an_earlier_export_do_not_outlive_it(
    kind: str, fresh: Source, learned: Source, tmp_path: Path
) -> None:
    mine = tmp_path / "best-1.5G" / "notes.txt"
    path = export(learned, format=kind, folder=tmp_path)
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("kept")
    export(fresh, format=kind, folder=tmp_path, force=True)
    assert mine.read_text() == "kept"
    with pytest.raises(ExportError, match="holds no weights"):
        cmt_search.load_weights(path)


@pytest.mark.parametrize("kind", CHEAP)
@pytest.mark.parametrize("part", [0.2, 0.6, 0.97])
def test_a_truncated_file_is_refused(kind: str, part: float, fresh: Source, tmp_path: Path) -> None:
    path = export(fresh, format=kind, folder=tmp_path)
    file = path / "config.json" if path.is_dir() else path
    text = file.read_text()
    file.write_text(text[: int(part * len(text))])
    with pytest.raises(ExportError, match=r"is broken|is missing|is not a") as caught:
        cmt_search.load(path)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(params=1), r"params=1, but its arch gives \d+"),
        (lambda d: d.update(key="x"), r"key='x', but its arch gives '[0-9a-f]{12}'"),
        (lambda d: d["arch"].update(neck_width=65), r"key='\w+', but its arch gives"),
        (lambda d: d["arch"].update(position="none"), r"key='\w+', but its arch gives"),
        (lambda d: d["arch"].update(colour=1), r"arch\.colour is unknown"),
        (lambda d: d["arch"]["stages"][1].update(width=15), r"stages\[1\]\.width=15 .* use 16"),
        (lambda d: d["arch"].pop("stages"), r"arch\.stages is missing"),
        (lambda d: d.pop("arch"), r"arch is missing, so the file was changed or cut short"),
        (lambda d: d.pop("macs"), r"macs is missing, so the file was changed or cut short"),
        (lambda d: d.update(provenance=3), r"provenance=3 is no mapping"),
        (lambda d: d.update(version=2), r"version=2 is not 1"),
        (lambda d: d.update(format="cmt_search/family"), r"is not 'cmt_search/variant'"),
    ],
)
def test_a_changed_file_is_refused_by_the_field(
    change: EDIT, message: str, fresh: Source, tmp_path: Path
) -> None:
    path = edited(export(fresh, format="yaml", folder=tmp_path), change)
    with pytest.raises(ExportError, match=message) as caught:
        cmt_search.load(path)
    assert str(path) in str(caught.value)


def test_a_network_that_comes_out_different_is_not_kept(
    fresh: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoilt = Rebuilt(logits=lambda images: 1.01 * fresh.model(images))
    how = replace(FORMATS["yaml"], rebuild=lambda path, source: spoilt)
    monkeypatch.setattr("cmt_search.export.formats.FORMATS", {"yaml": how})
    with pytest.raises(ExportError, match=r"gives another network \(logits .* apart, of at most"):
        export(fresh, format="yaml", folder=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("replaced", "message"),
    [("neck", r"params \d+ instead of \d+"), ("head_drop", r"macs \d+ instead of \d+")],
)
def test_params_and_macs_are_counted_on_what_was_built(
    replaced: str, message: str, fresh: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cmt_search.export.rebuilding import rebuilt_module

    model = Source(variant=variant()).model
    if replaced == "neck":
        model.neck.register_parameter("more", nn.Parameter(torch.zeros(1)))
    else:
        model.head_drop.register_forward_hook(lambda m, i, out: out @ torch.zeros_like(out).T @ out)
    how = replace(FORMATS["yaml"], rebuild=lambda path, source: rebuilt_module(model))
    monkeypatch.setattr("cmt_search.export.formats.FORMATS", {"yaml": how})
    with pytest.raises(ExportError, match=message):
        export(fresh, format="yaml", folder=tmp_path)


def test_loading_runs_no_code(fresh: Source, tmp_path: Path) -> None:
    file = tmp_path / "evil.yaml"
    file.write_text(f"!!python/object/apply:os.mkdir [{tmp_path / 'made'}]\n")
    with pytest.raises(ExportError, match="is broken"):
        cmt_search.load(file)
    module = export(fresh, format="python", folder=tmp_path)
    text, call = module.read_text(), f"__import__('os').mkdir({str(tmp_path / 'made')!r})"
    module.write_text(f"{call}\n{text}")
    with pytest.raises(ExportError, match=r"CODE='\w+' is not the digest of the code in it"):
        cmt_search.load(module)
    module.write_text(text.replace('NAME = "', 'NAME = "').replace("KEY = ", f"KEY = {call} or "))
    with pytest.raises(ExportError, match="KEY is no plain value"):
        cmt_search.load(module)
    pickled = export(
        Source(variant=variant(), weights=weights()), format="python", folder=tmp_path, force=True
    ).with_suffix(".pt")
    torch.save(Evil(tmp_path / "made"), pickled)
    with pytest.raises(ExportError, match=r"weights\.sha256=.* is not the digest of best_1_5G\.pt"):
        cmt_search.load_weights(module)
    assert not (tmp_path / "made").exists()


class Evil:
    """Makes a folder where it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.mkdir, (self.folder,)


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "a:b"])
def test_a_name_that_is_no_file_name_is_refused(name: str, tmp_path: Path) -> None:
    source = Source(variant=variant(name=name))
    with pytest.raises(ExportError, match=r"is no file name; use letters"):
        export(source, format="yaml", folder=tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing.yaml", r"nothing\.yaml: cannot be read .* timm folder"),
        ("nothing.py", r"nothing\.py: cannot be read"),
        ("study.csv", r"is the table of a study; use cmt_search\.load_study"),
        ("model.safetensors", r"holds weights alone; give its folder"),
    ],
)
def test_what_holds_no_network_is_refused(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=message):
        cmt_search.load(tmp_path / name)


def test_an_architecture_alone_loads_too(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(TINY.to_dict()))
    assert load_variant(file) == Variant(name="mine", arch=TINY)


def test_an_unknown_format_is_refused(fresh: Source, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"format 'gguf' is unknown; use yaml, timm, hf, onnx"):
        export(fresh, format="gguf", folder=tmp_path)
