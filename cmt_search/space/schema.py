"""The sections of a space file, each validated on its own."""

from dataclasses import replace
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cmt_search.arch import Arch
from cmt_search.dataset_spec import DatasetSpec
from cmt_search.errors import CmtSearchError, SpaceError, suggestion
from cmt_search.evaluation import Fidelity, image_size
from cmt_search.format import Quantity
from cmt_search.presets import PRESETS
from cmt_search.recipe import Recipe
from cmt_search.scaling import CATALOGUE, NAMED_RULES, Fixed, Shares


class Section(BaseModel):
    """Frozen; refuses keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


_OF_STAGES = ("mlp_ratio", "qk_ratio", "kv_stride")


class Base(Section):
    """The network that grows: a preset, or `arch` in full, with some of its fields replaced.

    Fields of stages are one number for all of them, or a list of one for each.
    """

    preset: str | None = None  # such as cmt_nano
    arch: dict[str, Any] | None = None  # in full, as exported files have it
    resolution: int | None = None  # pixels
    stem_width: int | None = None  # channels
    stem_stride: int | None = None  # 2 in the paper; 1 keeps small images large
    neck_width: int | None = None  # channels before the classifier
    in_chans: int | None = None  # of the images
    num_classes: int | None = None
    position: Literal["stage", "block", "none"] | None = None  # tables
    mlp_ratio: float | tuple[float, ...] | None = None  # hidden channels of the IRFFN / width
    qk_ratio: float | tuple[float, ...] | None = None  # channels of queries and keys / width
    kv_stride: int | tuple[int, ...] | None = None  # keys stand on every so-many-th pixel

    @model_validator(mode="after")
    def _is_a_network(self) -> Self:
        if (self.preset is None) == (self.arch is None):
            raise ValueError("name either a preset or an arch, and not both")
        if self.preset is not None and self.preset not in PRESETS:
            raise ValueError(
                f"preset {self.preset!r} is unknown; {suggestion(self.preset, PRESETS)}"
            )
        try:
            self.build()
        except CmtSearchError as error:
            raise ValueError(str(error)) from None
        return self

    def build(self) -> Arch:
        """The architecture."""
        arch = Arch.from_dict(self.arch) if self.arch is not None else PRESETS[self.preset or ""]
        changes = self.model_dump(exclude={"preset", "arch"}, exclude_none=True)
        rows = {name: changes.pop(name) for name in _OF_STAGES if name in changes}
        for name, values in rows.items():
            if isinstance(values, tuple) and len(values) != len(arch.stages):
                raise SpaceError(
                    f"{name} lists {len(values)} values, but the network has {len(arch.stages)} "
                    "stages; write one for each stage, or one number for all"
                )
        stages = tuple(
            replace(stage, **{n: v[i] if isinstance(v, tuple) else v for n, v in rows.items()})
            for i, stage in enumerate(arch.stages)
        )
        return replace(arch, stages=stages, **changes)


class Knob(Section):
    """A range of whole numbers."""

    min: int | None = Field(default=None, ge=1)
    max: int | None = Field(default=None, ge=1)  # inclusive
    step: int = Field(default=1, ge=1)
    log: bool = False  # sampled evenly in logs

    @model_validator(mode="after")
    def _is_not_empty(self) -> Self:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min={self.min} is above max={self.max}; swap them")
        if self.log and self.step != type(self).model_fields["step"].default:
            raise ValueError("log and step exclude each other; remove one of them")
        return self


class Side(Knob):
    """A range of sides; an even one halves into whole maps at least once."""

    step: int = Field(default=2, ge=1)


class Range(Section):
    """A range of ratios."""

    min: float = Field(gt=0)
    max: float
    step: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _is_not_empty(self) -> Self:
        if self.min >= self.max:
            raise ValueError(f"min={self.min} is not below max={self.max}; swap them")
        return self


class RatioRange(Range):
    """A range of stage ratios."""

    min: float = Field(ge=0, le=1)
    max: float = Field(ge=0, le=1)


PARETO_ONLY = ("stem_width", "neck_width", "mlp_ratio", "qk_ratio")  # of the knobs


class Knobs(Section):
    """What may vary. In a rule search the ranges bound the members; in a Pareto search they are
    sampled, and what is left out stays the base's. In a shape search depth, side and stage ratio
    are sampled, and the range of width bounds what is solved."""

    depth: Knob = Knob()  # total blocks
    width: Knob = Knob()  # channels of the first stage; a rule's step counts multiples, see `fixed`
    resolution: Side = Side()  # in pixels
    stage_ratio: float | RatioRange | None = None  # of added blocks, the part in stage 3
    fixed: Fixed = "num_heads"  # constant while widths change; widths are multiples of it
    # Sampled in Pareto searches only; a rule takes them from the base.
    stem_width: Knob = Knob()  # channels; left out, the stem widens with the stages
    neck_width: Knob = Knob()  # channels
    mlp_ratio: Range | None = None  # of every stage
    qk_ratio: Range | None = None  # of every stage


class Budgets(Section):
    """MACs that members are solved for: given outright, or as multiples of the base's."""

    macs: tuple[Quantity, ...] = ()  # such as [1.5M, 3M]
    times_base: tuple[float, ...] = ()  # such as [3, 6, 12]

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, data: Any) -> Any:
        return {"macs": data} if isinstance(data, list | tuple) else data

    @model_validator(mode="after")
    def _is_one_way(self) -> Self:
        if self.macs and self.times_base:
            raise ValueError("gives both macs and times_base; keep one of them")
        return self


class Caps(Section):
    """Hard limits on the cost of any network."""

    macs: Quantity | None = None  # Pareto searches; the others have budgets
    params: Quantity | None = None  # such as 5M
    activations: Quantity | None = None  # elements of all convolution and linear outputs
    latency_ms: float | None = Field(default=None, gt=0)  # measured, see `latency`
    memory_mib: float | None = Field(default=None, gt=0)  # likewise; Pareto searches


class Proxy(Section):
    """How a network is measured."""

    dataset: DatasetSpec = DatasetSpec()
    epochs: int = Field(default=4, ge=1)  # passes over the training images
    steps: int | None = Field(default=None, ge=1)  # at most so many, of all epochs
    seconds: float | None = Field(default=None, gt=0)  # at most so much time; cannot be repeated
    data_fraction: float = Field(default=1.0, gt=0, le=1)  # of the training images, stratified
    image_scale: float = Field(default=1.0, gt=0, le=1)  # of each network's resolution
    recipe: Recipe = Recipe()

    def fidelity(self, arch: Arch, epochs: int) -> Fidelity:
        """How a network of a search is trained, for so many epochs."""
        return Fidelity(
            epochs=epochs,
            data_fraction=self.data_fraction,
            image_size=image_size(arch.resolution, scale=self.image_scale),
            steps=self.steps,
            seconds=self.seconds,
        )


class Fidelities(Section):
    """The fidelities of a trial, in the order of training, and successive halving between them.

    A rung resumes from the checkpoint of the previous one for the epochs that the recipe lets them
    share; see `Recipe.shared_epochs`. A cosine shares none. In a rule search, halving decides after
    all budgets were trained at a fidelity.
    """

    epochs: tuple[int, ...] = ()  # of each rung, increasing; empty: one rung of proxy.epochs
    reduction_factor: int | None = Field(
        default=None, ge=2
    )  # eta: keep the best 1/eta at each rung

    @field_validator("epochs")
    @classmethod
    def _grows(cls, epochs: tuple[int, ...]) -> tuple[int, ...]:
        if any(e < 1 for e in epochs) or list(epochs) != sorted(set(epochs)):
            raise ValueError(f"epochs {list(epochs)} do not grow; write them like [1, 3, 9]")
        return epochs


class Point(Section):
    """A rule of the user's own, by its shares."""

    name: str = Field(min_length=1)
    depth: float  # shares of the growth in ln MACs, which sum to one
    width: float
    resolution: float

    @model_validator(mode="after")
    def _is_in_the_triangle(self) -> Self:
        try:
            self.shares.checked()
        except CmtSearchError as error:
            raise ValueError(str(error)) from None
        return self

    @property
    def shares(self) -> Shares:
        """The point of the triangle."""
        return Shares(depth=self.depth, width=self.width, resolution=self.resolution)


SamplerName = Literal["design", "gp", "tpe", "sobol", "random", "grid", "nsga2", "nsga3", "cmaes"]


class Sampler(Section):
    """How candidates are chosen."""

    name: SamplerName = "tpe"  # a rule search begins with its design, whatever comes after it
    lattice: int = Field(default=3, ge=0, le=12)  # order m of the simplex lattice: shares k/m
    augmented: bool = True  # the lattice: within the feasible part, with blends inside
    replicates: int = Field(default=3, ge=1)  # measurements of the centroid and the paper's rule
    initial_points: int | None = Field(default=None, ge=0)  # Sobol points before a model asks
    rules: tuple[str, ...] = tuple(NAMED_RULES)  # to include in the design
    points: tuple[Point, ...] = ()  # further rules

    @field_validator("rules")
    @classmethod
    def _are_known(cls, rules: tuple[str, ...]) -> tuple[str, ...]:
        for name in rules:
            if name not in CATALOGUE:
                raise ValueError(f"rule {name!r} is unknown; use {', '.join(CATALOGUE)}")
        return rules

    @field_validator("points")
    @classmethod
    def _have_own_names(cls, points: tuple[Point, ...]) -> tuple[Point, ...]:
        taken = set(CATALOGUE)
        for point in points:
            if point.name in taken:
                raise ValueError(f"the name {point.name!r} is taken; choose another")
            taken.add(point.name)
        return points
