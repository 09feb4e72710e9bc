"""The sections of a space file, each validated on its own."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from annotated_types import Interval, Len
from pydantic import BaseModel, BeforeValidator, ConfigDict, field_validator, model_validator

from cmt_search.arch import Arch, Channels, MlpRatio, Position, QkRatio, Stride
from cmt_search.cost.config import BenchmarkConfig
from cmt_search.dataset_spec import DatasetSpec
from cmt_search.errors import SpaceError, suggestion
from cmt_search.evaluation import Fidelity, image_size
from cmt_search.fields import Fraction
from cmt_search.format import parse_quantity
from cmt_search.presets import PRESETS
from cmt_search.recipe import Recipe
from cmt_search.scaling import CATALOGUE, NAMED_RULES, Fixed, Shares
from cmt_search.space.candidates import Parameter, SamplerName

Count = Annotated[int, Interval(ge=1, le=1_000_000)]
Epochs = Annotated[int, Interval(ge=1, le=100_000)]
Pixels = Annotated[int, Interval(ge=8, le=4096)]
Quantity = Annotated[float, BeforeValidator(parse_quantity), Interval(gt=0, le=1e18)]
Positive = Annotated[float, Interval(gt=0, le=1e9)]
Ratio = Annotated[float, Interval(gt=0, lt=1000)]


class Section(BaseModel):
    """Frozen; refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


_OF_STAGES = ("mlp_ratio", "qk_ratio", "kv_stride")


class Base(Section):
    """The network that grows: a preset, or `arch` in full, with some of its fields replaced.

    Fields of stages are one number for all of them, or a list of one for each.
    """

    preset: str | None = None  # such as cmt_nano
    arch: dict[str, Any] | None = None  # in full, as exported files have it
    resolution: Pixels | None = None  # pixels
    stem_width: Channels | None = None  # channels
    stem_stride: Stride | None = None  # 2 in the paper; 1 keeps small images large
    neck_width: Channels | None = None  # channels before the classifier
    in_chans: Channels | None = None  # of the images
    num_classes: Count | None = None
    position: Position | None = None  # tables of position biases: per stage, per block, or none
    mlp_ratio: MlpRatio | tuple[MlpRatio, ...] | None = None  # hidden channels of the IRFFN / width
    qk_ratio: QkRatio | tuple[QkRatio, ...] | None = None  # channels of queries and keys / width
    kv_stride: Stride | tuple[Stride, ...] | None = None  # downsampling stride of keys and values

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, data: Any) -> Any:
        return {"preset": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.preset is None) == (self.arch is None):
            raise ValueError("name either a preset or an arch, and not both")
        if self.preset is not None and self.preset not in PRESETS:
            use = suggestion(self.preset, PRESETS)
            raise ValueError(f"preset {self.preset!r} is unknown; {use}")
        if not 8 <= self.build().resolution <= 4096:
            raise ValueError("arch.resolution is out of range; use 8 to 4096 pixels")
        return self

    def build(self) -> Arch:
        """Build the architecture.

        Raises:
            ArchError: the network is impossible.
            SpaceError: a list has not one value for each stage.
        """
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

    min: Count | None = None
    max: Count | None = None  # inclusive
    step: Count = 1
    log: bool = False  # sampled evenly in logs

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min={self.min} is above max={self.max}; swap them")
        if self.log and self.step != type(self).model_fields["step"].default:
            raise ValueError("log and step exclude each other; remove one of them")
        return self

    def parameter(self, name: str) -> Parameter | None:
        """Return what a sampler chooses; None: the knob has no range.

        Raises:
            ValueError: the range has one end only.
        """
        if self.min is None and self.max is None:
            return None
        if self.min is None or self.max is None:
            missing = "min" if self.min is None else "max"
            raise ValueError(f"knobs.{name}.{missing}: is missing; a sampled range needs both ends")
        high = self.min + (self.max - self.min) // self.step * self.step
        step = None if self.log else self.step
        return Parameter(name=name, low=self.min, high=high, step=step, log=self.log, integer=True)


class Side(Knob):
    """A range of sides; an even side halves into whole maps at least once."""

    step: Count = 2


class Range(Section):
    """A range of ratios."""

    min: Ratio
    max: Ratio
    step: Ratio | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.min >= self.max:
            raise ValueError(f"min={self.min} is not below max={self.max}; swap them")
        if self.step is not None and self.max - self.min > 10_000 * self.step:
            raise ValueError(f"step={self.step} makes more than 10,000 steps; use a larger one")
        return self

    def parameter(self, name: str) -> Parameter:
        """Return what a sampler chooses."""
        return Parameter(name=name, low=self.min, high=self.max, step=self.step)


class RatioRange(Range):
    """A range of stage ratios."""

    min: Fraction
    max: Fraction


PARETO_ONLY = ("stem_width", "neck_width", "mlp_ratio", "qk_ratio")  # of the knobs
PARETO_KNOBS = (  # sampled in Pareto searches
    *("depth", "width", "resolution", "stem_width", "neck_width"),
    *("stage_ratio", "mlp_ratio", "qk_ratio"),
)
SHAPE_KNOBS = ("depth", "resolution", "stage_ratio")  # sampled in shape searches


class Knobs(Section):
    """Ranges of the sizes.

    In a rule search they bound the members. In a Pareto search they are sampled, and a knob without
    a range keeps the base's value. In a shape search depth, resolution and stage ratio are sampled,
    and the range of width bounds the solved widths.
    """

    depth: Knob = Knob()  # total blocks
    width: Knob = Knob()  # channels of the first stage; a rule's step counts multiples, see `fixed`
    resolution: Side = Side()  # in pixels
    stage_ratio: Fraction | RatioRange | None = None  # of added blocks, the part in stage 3
    fixed: Fixed = "num_heads"  # constant while widths change; widths are multiples of it

    # Sampled in Pareto searches only; a rule takes them from the base.
    stem_width: Knob = Knob()  # channels; left out, the stem widens with the stages
    neck_width: Knob = Knob()  # channels
    mlp_ratio: Range | None = None  # of every stage
    qk_ratio: Range | None = None  # of every stage

    def parameters(self, names: Sequence[str]) -> tuple[Parameter, ...]:
        """Return what a sampler chooses of these knobs.

        Raises:
            ValueError: a range has one end only.
        """
        knobs = {name: getattr(self, name) for name in names}
        ranges = [v.parameter(k) for k, v in knobs.items() if isinstance(v, Knob | Range)]
        return tuple(parameter for parameter in ranges if parameter is not None)


_TIMES = 1000  # a number below is no network's MACs, but a multiple of the base's


class Budgets(Section):
    """MACs that members are solved for: absolute, or as multiples of the base's.

    A list is of MACs; numbers below 1000 are multiples of the base's.
    """

    macs: Annotated[tuple[Quantity, ...], Len(0, 64)] = ()  # such as [1.5M, 3M]
    times_base: Annotated[
        tuple[Annotated[float, Interval(gt=0, le=1e6)], ...], Len(0, 64)
    ] = ()  # such as [3, 6, 12]

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, data: Any) -> Any:
        if not isinstance(data, list | tuple):
            return data
        small = data and all(type(value) in (int, float) and value < _TIMES for value in data)
        return {"times_base" if small else "macs": data}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.macs and self.times_base:
            raise ValueError("gives both macs and times_base; keep one of them")
        return self

    def by_path(self, base_macs: int) -> dict[str, float]:
        """Return the budgets in MACs by their key paths, in the order of the file."""
        times = {f"budgets.times_base[{i}]": t for i, t in enumerate(self.times_base)}
        given = {f"budgets.macs[{i}]": macs for i, macs in enumerate(self.macs)}
        return given | {path: round(t * base_macs) for path, t in times.items()}


class Caps(Section):
    """Hard limits on the cost of any network."""

    macs: Quantity | None = None  # Pareto searches; the others have budgets
    params: Quantity | None = None  # such as 5M
    activations: Quantity | None = None  # elements of all convolution and linear outputs
    latency_ms: Positive | None = None  # measured, see `latency`
    memory_mib: Positive | None = None  # likewise; Pareto searches


class Proxy(Section):
    """How a network is measured."""

    dataset: DatasetSpec = DatasetSpec()
    epochs: Epochs = 4  # passes over the training images
    steps: Annotated[int, Interval(ge=1, le=1_000_000_000)] | None = None  # limit of all epochs
    seconds: Positive | None = None  # limit of wall time; makes results irreproducible
    data_fraction: Annotated[float, Interval(ge=0.0001, le=1)] = 1.0  # of the training images,
    # stratified
    image_scale: Annotated[float, Interval(ge=0.01, le=1)] = 1.0  # of each network's resolution
    recipe: Recipe = Recipe()

    def fidelity(self, arch: Arch, epochs: int) -> Fidelity:
        """Return the fidelity of a network that is trained for `epochs`."""
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

    epochs: Annotated[tuple[Epochs, ...], Len(0, 16)] = ()  # of each rung, increasing; empty: one
    # rung of proxy.epochs
    reduction_factor: Annotated[int, Interval(ge=2, le=100)] | None = None  # eta: a rung keeps the
    # best 1/eta

    @model_validator(mode="after")
    def _check(self) -> Self:
        if list(self.epochs) != sorted(set(self.epochs)):
            raise ValueError(f"epochs {list(self.epochs)} do not grow; write them like [1, 3, 9]")
        if self.reduction_factor is not None and len(self.epochs) < 2:
            raise ValueError("reduction_factor needs two rungs; write epochs like [1, 3, 9]")
        return self


class Point(Section):
    """A rule of the user's own, by its shares."""

    name: Annotated[str, Len(1, 80)]
    depth: float  # shares of the growth in ln MACs, which sum to one
    width: float
    resolution: float

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.shares.checked()
        return self

    @property
    def shares(self) -> Shares:
        """The point of the triangle."""
        return Shares(depth=self.depth, width=self.width, resolution=self.resolution)


class Sampler(Section):
    """How candidates are chosen."""

    name: SamplerName = "tpe"  # a rule search begins with its design, whatever comes after it
    lattice: Annotated[int, Interval(ge=0, le=12)] = 3  # order m of the simplex lattice: shares k/m
    augmented: bool = True  # the lattice: within the feasible part, with blends inside
    replicates: Annotated[int, Interval(ge=1, le=100)] = 3  # measurements of the centroid and the
    # paper's rule
    initial_points: Annotated[int, Interval(ge=0, le=10_000)] | None = None  # Sobol points before
    # a model suggests; null: by the number of parameters
    rules: Annotated[tuple[str, ...], Len(0, 64)] = tuple(NAMED_RULES)  # to include in the design
    points: Annotated[tuple[Point, ...], Len(0, 64)] = ()  # further rules

    @field_validator("rules")
    @classmethod
    def _check_rules(cls, rules: tuple[str, ...]) -> tuple[str, ...]:
        for name in rules:
            if name not in CATALOGUE:
                raise ValueError(f"rule {name!r} is unknown; {suggestion(name, CATALOGUE)}")
        return rules

    @field_validator("points")
    @classmethod
    def _check_points(cls, points: tuple[Point, ...]) -> tuple[Point, ...]:
        taken = set(CATALOGUE)
        for point in points:
            if point.name in taken:
                raise ValueError(f"the name {point.name!r} is taken; choose another")
            taken.add(point.name)
        return points


Kind = Literal["rule", "shape", "pareto"]
Objective = Literal[
    "top1", "loss", "macs", "params", "activations", "latency_ms", "memory_mib", "seconds"
]


class SpaceFile(Section):
    """All sections of a space file."""

    kind: Kind  # rule: scaling rules; shape: shapes at budgets; pareto: free networks
    base: Base  # the network that grows
    knobs: Knobs = Knobs()
    budgets: Budgets = Budgets()
    tolerance: Annotated[float, Interval(gt=0, lt=0.5)] = 0.01  # of the MACs of a budget
    caps: Caps = Caps()
    proxy: Proxy = Proxy()
    fidelities: Fidelities = Fidelities()
    latency: BenchmarkConfig = BenchmarkConfig()
    objectives: Annotated[tuple[Objective, ...], Len(0, 8)] = ()  # the first is accuracy; default
    # [top1], or [top1, macs] in Pareto searches
    sampler: Sampler = Sampler()
    trials: Count | None = None  # null: as many as the design holds
    seeds: Annotated[int, Interval(ge=1, le=100)] = 1  # trainings of each network
    seed: Annotated[int, Interval(ge=0, le=2**31 - 1)] = 0  # of the search and of its trainings

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, data: Any) -> Any:
        """Set the defaults that depend on the kind of search."""
        if not isinstance(data, Mapping) or data.get("kind") not in ("rule", "shape", "pareto"):
            return data
        objectives = ["top1", "macs"] if data["kind"] == "pareto" else ["top1"]
        sampler = {} if data.get("sampler") is None else data["sampler"]
        if isinstance(sampler, Mapping):
            name = sampler.get("name") or ("design" if data["kind"] == "rule" else "tpe")
            sampler = {**sampler, "name": name}
        return {"objectives": objectives, **data, "sampler": sampler}

    @property
    def arch(self) -> Arch:
        """The base."""
        return self.base.build()

    @property
    def reduction_factor(self) -> int | None:
        """Reduction factor of successive halving; None: every trial runs all of its rungs."""
        return self.fidelities.reduction_factor

    @property
    def epoch_schedule(self) -> tuple[int, ...]:
        """Epochs of the rungs, increasing."""
        return self.fidelities.epochs or (self.proxy.epochs,)
