"""The network in other formats: torch.export's programs, and ONNX as ONNX Runtime runs it."""

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.utils import reparameterize_model
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from cmt_search.builder import CMT
from tests.builder.registered import create, images, trained
from tests.builder.tiny import ONE_PIXEL, TINY, tiny

ANY_BATCH = ({0: Dim("batch", min=1, max=1024)},)
NEWEST = 25  # opset; what onnxscript 0.7 converts to


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A network, how it becomes a program, and the opset to try on it."""

    position: str
    input_size: tuple[int, int] = (TINY.resolution, TINY.resolution)
    folded: bool = False  # norms and residuals into convolutions
    strict: bool = False
    opset: int = 18

    def model(self) -> CMT:
        """The network in eval mode, with the values of a training."""
        torch.manual_seed(0)
        model: CMT = trained(tiny(position=self.position, input_size=self.input_size))
        return reparameterize_model(model) if self.folded else model


VARIANTS = {
    "a table per stage": Variant(position="stage"),
    "a table per block": Variant(position="block", input_size=(13, 18), folded=True),
    "one pixel": Variant(position="none", input_size=ONE_PIXEL, strict=True, opset=NEWEST),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A variant, its network and the program of it."""

    variant: Variant
    model: CMT
    program: ExportedProgram


@pytest.fixture(scope="module", params=VARIANTS)
def exported(request: pytest.FixtureRequest) -> Exported:
    variant = VARIANTS[request.param]
    model = variant.model()
    program = torch.export.export(
        model, (images(model),), dynamic_shapes=ANY_BATCH, strict=variant.strict
    )
    return Exported(variant=variant, model=model, program=program)


def assert_same_for_any_batch(program: Any, model: nn.Module) -> None:
    batch = images(model, count=5)
    with torch.no_grad():
        wanted = model(batch)
        assert wanted.std() > 0.05, "logits that hardly vary compare with nothing"
        for count in (1, 2, 5):
            given = program(batch[:count])
            assert torch.allclose(given, wanted[:count], rtol=0, atol=1e-6), count


def test_a_program_gives_the_logits_of_the_model_for_any_batch(exported: Exported) -> None:
    assert_same_for_any_batch(exported.program.module(), exported.model)


@pytest.mark.parametrize("exported", ["one pixel"], indirect=True)
def test_a_saved_program_gives_the_same_logits(exported: Exported, tmp_path: Path) -> None:
    torch.export.save(exported.program, tmp_path / "cmt.pt2")
    assert_same_for_any_batch(torch.export.load(tmp_path / "cmt.pt2").module(), exported.model)


@pytest.mark.parametrize("thrifty", [False, True], ids=["plain", "checkpointing"])
def test_a_program_of_a_training_network_trains_as_the_network_does(thrifty: bool) -> None:
    model = VARIANTS["a table per stage"].model().train()
    model.set_grad_checkpointing(thrifty)
    program: Any = torch.export.export(
        deepcopy(model), (images(model),), dynamic_shapes=ANY_BATCH
    ).module()
    batch = images(model, count=3)
    for network in (model, program):
        network(batch).square().sum().backward()
    parameters = dict(program.named_parameters())
    for name, parameter in model.named_parameters():
        assert_close(parameters[name].grad, parameter.grad, what=name)
    state = program.state_dict()
    for name, value in model.state_dict().items():
        if "running" in name:
            assert_close(state[name], value, what=name)


def assert_close(given: Tensor | None, wanted: Tensor | None, *, what: str) -> None:
    assert given is not None, what
    assert wanted is not None, what
    assert torch.allclose(given, wanted, rtol=1e-4, atol=1e-5), what


def assert_runs_in_onnx_runtime(
    source: Any, model: CMT, *, opset: int, file: Path, optimize: bool = True
) -> None:
    """Write `source`, a model or its program, as ONNX, and compare logits."""
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.onnx.export(
        source,
        (images(model),),
        file,
        dynamo=True,
        opset_version=opset,
        dynamic_shapes=None if isinstance(source, ExportedProgram) else ANY_BATCH,
        input_names=["images"],
        output_names=["logits"],
        optimize=optimize,
        verbose=False,
    )
    onnx.checker.check_model(str(file), full_check=True)
    versions = {entry.domain: entry.version for entry in onnx.load(file).opset_import}
    assert versions == {"": opset}, "other domains are extensions that few runtimes have"
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    batch = images(model, count=8)
    with torch.no_grad():
        wanted = model(batch)
    assert wanted.std() > 0.05, "logits that hardly vary compare with nothing"
    for count in (1, 3, 8):
        (logits,) = session.run(None, {"images": batch[:count].numpy()})
        assert abs(logits - wanted[:count].numpy()).max() < 1e-4, count


@pytest.mark.parametrize(
    "exported",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name != "a table per block"))
        for name in VARIANTS
    ],
    indirect=True,
)
def test_onnx_runtime_gives_the_logits_of_the_model_for_any_batch(
    exported: Exported, tmp_path: Path
) -> None:
    assert_runs_in_onnx_runtime(
        exported.program,
        exported.model,
        opset=exported.variant.opset,
        file=tmp_path / "tiny.onnx",
    )


@pytest.mark.slow
def test_onnx_runtime_gives_the_logits_of_cmt_ti(tmp_path: Path) -> None:
    model = trained(create("cmt_ti", img_size=160))
    file = tmp_path / "cmt_ti.onnx"
    assert_runs_in_onnx_runtime(model, model, opset=18, file=file, optimize=False)  # half the time
