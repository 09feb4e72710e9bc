"""Exported variants: what goes out comes back, and what was changed is noticed."""

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

import cmt_search
from cmt_search.arch import Arch
from cmt_search.cost import cost
from cmt_search.errors import ExportError
from cmt_search.export import FORMATS, Source, Variant, export
from cmt_search.export.reader import load_variant
from cmt_search.export.verify import Rebuilt
from cmt_search.presets import PRESETS
from tests.builder.tiny import TINY
from tests.export.conftest import EDIT, edited, variant, weights, with_position
from tests.export.damage import refusals

CHEAP = [name for name in FORMATS if name not in ("onnx", "pt2")]  # they have their own files
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


@pytest.mark.parametrize("kind", ["yaml", "timm"])
def test_without_weights_there_are_none_to_load(kind: str, fresh: Source, tmp_path: Path) -> None:
    path = export(fresh, format=kind, folder=tmp_path)
    with pytest.raises(ExportError, match=r"holds no weights"):
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
    with pytest.raises(ExportError, match=r"best.* exists .*--force"):
        export(fresh, format=kind, folder=tmp_path)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    assert export(fresh, format=kind, folder=tmp_path, force=True) == path
    assert cmt_search.load(path) == TINY


@pytest.mark.parametrize("kind", ["timm"])
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


@pytest.mark.parametrize("part", [0.2, 0.6, 0.97])
def test_a_truncated_config_is_refused(part: float, fresh: Source, tmp_path: Path) -> None:
    path = export(fresh, format="timm", folder=tmp_path)
    file = path / "config.json"
    text = file.read_text()
    file.write_text(text[: int(part * len(text))])
    with pytest.raises(ExportError, match=r"is broken") as caught:
        cmt_search.load(path)
    assert str(file) in str(caught.value)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What stands in an exported YAML file."""
    folder = tmp_path_factory.mktemp("yaml")
    return export(Source(variant=variant()), format="yaml", folder=folder).read_text()


@pytest.fixture
def file(text: str, tmp_path: Path) -> Path:
    """Such a file, to be changed."""
    path = tmp_path / "best.yaml"
    path.write_text(text)
    return path


EDITS: list[tuple[EDIT, str]] = [
    (
        lambda d: d["arch"].update(num_classes=100),
        r"recomputed: key \w+ \(now \w+\), params \d+ \(now",
    ),
    (lambda d: d["arch"].update(neck_width=20), r"recomputed: key .*, macs \d+ \(now \d+\)"),
    (lambda d: d.update(params=1), r"recomputed: params 1 \(now \d+\)"),
    (lambda d: d.update(key="x"), r"recomputed: key x \(now [0-9a-f]{12}\)"),
]


@pytest.mark.parametrize(("change", "message"), EDITS)
def test_an_edited_network_loads_with_a_warning(change: EDIT, message: str, file: Path) -> None:
    path = edited(file, change)
    with pytest.warns(UserWarning, match=message) as caught:
        found = load_variant(path)
    assert str(file) in str(caught[0].message)
    assert found.arch == Arch.from_dict(yaml.safe_load(path.read_text())["arch"])


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(name="other"),
        lambda d: d["provenance"].update(rule="mine"),
        lambda d: [d.pop(key) for key in list(d) if key not in ("name", "arch")],
        lambda d: [d.pop(key) for key in list(d) if key != "arch"],
    ],
)
def test_other_edits_load_silently(change: EDIT, file: Path) -> None:
    path = edited(file, change)
    with warnings.catch_warnings(action="error"):
        found = load_variant(path)
    assert found.arch == TINY
    assert found.name == yaml.safe_load(path.read_text()).get("name", "best")


IMPOSSIBLE: list[tuple[EDIT, str]] = [
    (lambda d: d.update(name=3), "name=3"),
    (lambda d: d.update(macs="many"), "macs='many'"),
    (lambda d: d["arch"]["stages"][1].update(depth=0.5), r"stages\[1\]\.depth=0\.5 is not"),
    (lambda d: d["arch"]["stages"][1].update(width=15), r"stages\[1\]\.width=15 .* use 16"),
    (lambda d: d["arch"].update(colour=1), r"arch\.colour is unknown"),
    (lambda d: d["arch"].pop("stages"), r"arch\.stages is missing"),
    (lambda d: d.update(arch=None), "arch=None is not a mapping"),
    (lambda d: d.update(provenance=3), "provenance=3"),
    (lambda d: d["provenance"].update(budget="lots"), "budget='lots' is no number"),
    (lambda d: d.update(extra=1), "extra is unknown; use name"),
    (lambda d: d.update(provenence={}), "provenence is unknown; did you mean provenance"),
    (lambda d: d.pop("arch"), "arch is missing"),
    (lambda d: d.update(schema_version=4), "schema_version=4 is not 3"),
    (lambda d: d.update(format="other"), r"format='other'"),
]


@pytest.mark.parametrize(("change", "message"), IMPOSSIBLE)
def test_an_impossible_field_is_refused_by_its_key(change: EDIT, message: str, file: Path) -> None:
    with pytest.raises(ExportError, match=message) as caught:
        cmt_search.load(edited(file, change))
    assert str(file) in str(caught.value)


def test_comments_order_and_spelling_do_not_matter(text: str, file: Path) -> None:
    flow = yaml.safe_dump(yaml.safe_load(text), default_flow_style=True, width=50)
    file.write_text(f"# mine\n{flow}")
    assert load_variant(file) == variant()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.yaml",
            "resolution: 8\nresolution: 9\n",
            "line 2.*resolution is written twice; keep one",
        ),
        ("a.json", '{"stages": [{"depth": 1, "depth": 2}]}', "depth comes twice: keep one of them"),
        ("a.yaml", "&a\narch: *a\n", r"line 2.*\*a contains itself"),
        ("a.yaml", "x: !!bool 3\n", "line 1.*remove its tag"),
        ("a.yaml", "x: [" + "1," * 100_000 + "]", "line 1.*shorten it"),
        ("a.json", "[" * 100_000, "is broken"),
        ("a.yaml", "[" * 600, "line 1.*nested"),
        ("a.json", "[1]", "holds no description of a network, a family or a study"),
        ("a.yaml", "members: 3\n", "rule is missing"),
        ("a.yaml", "depth: 3\n", "depth is unknown; use name"),
        ("a.yaml", "cmt_search:\n", "cmt_search is missing; give a folder"),
    ],
)
def test_what_is_no_description_is_refused(
    name: str, text: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ExportError, match=message) as caught:
        cmt_search.load(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", CHEAP)
def test_a_damaged_file_is_refused_or_loads(kind: str, fresh: Source, tmp_path: Path) -> None:
    path = export(fresh, format=kind, folder=tmp_path)
    file = path / "config.json" if path.is_dir() else path
    found = refusals(
        file, read=lambda: load_variant(path), same=fresh.variant.__eq__, may_differ=True
    )
    assert found > 20, "much of the damage shows"


@pytest.mark.parametrize("kind", KEEPING)
def test_damaged_or_missing_weights_are_noticed(kind: str, learned: Source, tmp_path: Path) -> None:
    path = export(learned, format=kind, folder=tmp_path)
    (file,) = tmp_path.rglob("*.safetensors")
    whole = file.read_bytes()
    for rest in (b"", whole[:-1], whole[:99] + bytes([whole[99] ^ 1]) + whole[100:]):
        file.write_bytes(rest)
        with pytest.raises(ExportError, match=rf"weights\.sha256=.* checksum of {file.name}"):
            cmt_search.load_weights(path)
    file.unlink()
    with pytest.raises(ExportError, match=rf"{file.name}: does not exist"):
        cmt_search.load_weights(path)


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
    from cmt_search.export.verify import rebuilt_module

    model = Source(variant=variant()).model
    if replaced == "neck":
        model.neck.register_parameter("more", nn.Parameter(torch.zeros(1)))
    else:
        model.head_drop.register_forward_hook(lambda m, i, out: out @ torch.zeros_like(out).T @ out)
    how = replace(FORMATS["yaml"], rebuild=lambda path, source: rebuilt_module(model))
    monkeypatch.setattr("cmt_search.export.formats.FORMATS", {"yaml": how})
    with pytest.raises(ExportError, match=message):
        export(fresh, format="yaml", folder=tmp_path)


def test_loading_runs_no_code(learned: Source, tmp_path: Path) -> None:
    file = tmp_path / "evil.yaml"
    file.write_text(f"!!python/object/apply:os.mkdir [{tmp_path / 'made'}]\n")
    with pytest.raises(ExportError, match=r"line 1, column 1: .*tag"):
        cmt_search.load(file)
    folder = export(learned, format="timm", folder=tmp_path)
    torch.save(Evil(tmp_path / "made"), folder / "model.safetensors")
    with pytest.raises(ExportError, match=r"model\.safetensors"):
        cmt_search.load_weights(folder)
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
        ("nothing.yaml", r"nothing\.yaml: cannot be read .* exported file or folder"),
        ("nothing.pt2", r"nothing\.pt2: cannot be read"),
        ("study.csv", r"is a study, not a network; use cmt_search\.load"),
        ("model.safetensors", r"holds weights alone; give its folder"),
    ],
)
def test_what_holds_no_network_is_refused(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=message):
        load_variant(tmp_path / name)


def test_an_architecture_alone_loads_too(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(TINY.to_dict()))
    assert load_variant(file) == Variant(name="mine", arch=TINY)


def test_an_unknown_format_is_refused(fresh: Source, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"format 'gguf' .*use yaml, timm, onnx"):
        export(fresh, format="gguf", folder=tmp_path)
