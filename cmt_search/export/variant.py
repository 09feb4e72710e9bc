"""A network under a name, with what it costs and where it comes from."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NoReturn, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from cmt_search.arch import Arch
from cmt_search.cost import cost
from cmt_search.errors import ArchError, ExportError, brief, suggestion
from cmt_search.export.provenance import checked

if TYPE_CHECKING:
    from cmt_search.builder import CMT

FORMAT: Final = "cmt_search/variant"
SCHEMA_VERSION: Final = 3
M = TypeVar("M", bound=BaseModel)
COSTS = ("key", "params", "macs", "activations")


def _parse_arch(value: object) -> Arch:
    if isinstance(value, Arch):
        return value
    if not isinstance(value, Mapping):
        raise ArchError(f"arch={value!r:.60} is not a mapping; give resolution, stem_width, ...")
    return Arch.from_dict(value)


ArchField = Annotated[Arch, BeforeValidator(_parse_arch), PlainSerializer(Arch.to_dict)]
Scalars = Annotated[int, Field(ge=1, strict=True)]


class NamedNetwork(BaseModel):
    """A name, an architecture, and the key and costs that the file declares for it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str = Field(description="name of the file, and in timm")
    params: Scalars | None = Field(None, description="trainable scalars")
    macs: Scalars | None = Field(None, description="multiply-accumulates of one image")
    activations: Scalars | None = Field(
        None, description="elements of the outputs of convolutions and linear layers"
    )
    arch: ArchField
    key: str | None = Field(None, description="hash of the network")

    def warn_of_differences(self, *, where: str) -> None:
        """Warn where the declared key or costs are not those of the architecture."""
        actual = key_and_costs(self.arch)
        differing = [
            f"{name} {declared} (now {actual[name]})"
            for name in COSTS
            if (declared := getattr(self, name)) not in (None, actual[name])
        ]
        if differing:
            warnings.warn(
                f"{where}: the architecture was edited; recomputed: {', '.join(differing)}",
                stacklevel=2,
            )


class VariantFile(NamedNetwork):
    """The file that `cmt-search export --format yaml` writes."""

    format: Literal["cmt_search/variant"] = FORMAT
    schema_version: Literal[3] = SCHEMA_VERSION
    provenance: dict[str, Any] = Field(
        default_factory=dict, description="where the network comes from"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A named network to export, or read from an exported file.

    Raises:
        ExportError: the provenance holds what a file cannot give back; the field is named.
    """

    name: str
    arch: Arch
    provenance: Mapping[str, Any] = field(default_factory=dict)  # plain values

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise ExportError(f"name={self.name!r:.60} is not text; name the variant")
        object.__setattr__(self, "provenance", checked(self.provenance))

    @property
    def trial(self) -> int | None:
        """The number of the trial that measured it, if one did."""
        return self.provenance.get("trial")

    @property
    def metrics(self) -> Mapping[str, float]:
        """What the search measured, as means over seeds; empty if it was not trained.

        Units: top1 in 0..1, loss in nats, seconds, milliseconds, MiB.
        """
        return MappingProxyType(dict(self.provenance.get("metrics") or {}))

    def build(self, **kwargs: Any) -> "CMT":
        """Build the network through timm, with fresh weights; arguments are timm's.

        Raises:
            ArchError: an argument does not fit the network.
        """
        import timm

        import cmt_search.builder  # noqa: F401  # registers it

        model: CMT = timm.create_model("cmt", arch=self.arch, **kwargs)
        return model

    def to_dict(self) -> dict[str, Any]:
        """Return the content of a file; `from_dict` reads it back."""
        costs = key_and_costs(self.arch)
        key = costs.pop("key")
        return {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            **costs,
            "arch": self.arch.to_dict(),
            "provenance": dict(self.provenance),
            "key": key,
        }

    @classmethod
    def from_dict(cls, data: object, *, where: str) -> "Variant":
        """Read what `to_dict` wrote; a key or cost that differs from the architecture's warns.

        Raises:
            ExportError: a field is missing, unknown or impossible; it and `where` are named.
        """
        file = validate(VariantFile, data, where=where)
        file.warn_of_differences(where=where)
        try:
            return cls(name=file.name, arch=file.arch, provenance=file.provenance)
        except ExportError as error:
            raise ExportError(f"{where}: {error}") from error


def key_and_costs(arch: Arch) -> dict[str, Any]:
    """Return the key of a network, its parameters, MACs and activations."""
    measured = cost(arch)
    return {
        "key": arch.key,
        "params": measured.params,
        "macs": measured.macs,
        "activations": measured.activations,
    }


def validate(model: type[M], data: object, *, where: str) -> M:
    """Validate the values of a file.

    Raises:
        ExportError: the first impossible value is named by its key path.
    """
    if not isinstance(data, Mapping):
        raise ExportError(
            f"{where}: {data!r:.60} is not a description of a network; give an exported file"
        )
    try:
        return model.model_validate(dict(data))
    except ValidationError as failure:
        _raise_first(failure, model=model, where=where)
    except RecursionError:
        raise ExportError(f"{where}: is nested too deeply; export the variant again") from None


def _raise_first(failure: ValidationError, *, model: type[BaseModel], where: str) -> NoReturn:
    errors = failure.errors(include_url=False)
    # A misspelt key is also a missing one; its own error has the remedy.
    error = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"])
    key, kind = path.removeprefix("."), error["type"]
    if key == "schema_version":
        problem = f"schema_version={brief(error['input'])} is not {SCHEMA_VERSION}; write it again"
    elif kind == "extra_forbidden":
        problem = f"{key} is unknown; {suggestion(key, tuple(model.model_fields))}"
    elif kind == "missing":
        problem = f"{key} is missing; add it"
    elif kind == "value_error":  # the message of an ArchError names its own key
        problem = error["msg"].removeprefix("Value error, ")
    else:
        problem = f"{key}={brief(error['input'])}: {error['msg']}"
    raise ExportError(f"{where}: {problem}") from None
