"""A network under a name, with what it costs and where it comes from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cmt_search.arch import Arch
from cmt_search.cost import cost
from cmt_search.errors import ArchError, ExportError
from cmt_search.export.checksums import CHECKSUMS, verify_checksums, with_checksums
from cmt_search.export.provenance import checked

FORMAT = "cmt_search/variant"
VERSION = 2  # 1 had no checksums
_AGAIN = "export the variant again, or write its arch alone into a YAML file, without checksums"
HINT = f"restore the file, {_AGAIN}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What an exported file describes.

    Raises:
        ExportError: the provenance holds what a file cannot give back; the field is named.
    """

    name: str
    arch: Arch
    provenance: Mapping[str, Any] = field(default_factory=dict)  # plain values

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise ExportError(f"name={self.name!r:.60} is no text; name the variant")
        object.__setattr__(self, "provenance", checked(self.provenance))

    def to_dict(self, **more: Any) -> dict[str, Any]:
        """The content of a file with its checksums, and with further fields of a format."""
        measured = cost(self.arch)
        return with_checksums(
            {
                "format": FORMAT,
                "version": VERSION,
                "name": self.name,
                "params": measured.params,
                "macs": measured.macs,
                "activations": measured.activations,
                "arch": self.arch.to_dict(),
                "provenance": dict(self.provenance),
                **more,
                "key": self.arch.key,
            }
        )

    @classmethod
    def from_dict(cls, data: object, *, where: str) -> "Variant":
        """Read what `to_dict` wrote.

        Raises:
            ExportError: a field is missing or was changed; it and `where` are named.
        """
        fields = _fields(data, where=where)
        try:
            arch = Arch.from_dict(
                fields["arch"]
            )  # before the checksums: its errors are more specific
        except ArchError as error:
            raise ExportError(f"{where}: {error}") from error
        verify_checksums(fields, where=where, hint=HINT)
        try:
            variant = cls(name=fields["name"], arch=arch, provenance=fields["provenance"])
        except ExportError as error:
            raise ExportError(f"{where}: {error}") from error
        variant.check(fields, where=where)
        return variant

    def check(self, declared: Mapping[str, Any], *, where: str) -> None:
        """Refuse a key or cost that is not this network's, as this version of the code counts.

        Raises:
            ExportError: a declared field differs.
        """
        truth = self.to_dict()
        for name in ("key", "params", "macs", "activations"):
            if declared.get(name) != truth[name]:
                raise ExportError(
                    f"{where}: {name}={declared.get(name)!r:.60}, but its arch gives "
                    f"{truth[name]!r}; export the variant again"
                )


def check_version(version: object, *, wanted: int, where: str, hint: str) -> None:
    """Refuse files of another version.

    Raises:
        ExportError: it is older, newer, or none.
    """
    if version == wanted and type(version) is int:
        return
    if version is None:
        raise ExportError(
            f"{where}: version is missing: the file was modified or truncated; {hint}"
        )
    if type(version) is not int or version < 1:
        raise ExportError(f"{where}: version={version!r:.60} is none; {hint}")
    who = "an older version of cmt_search" if version < wanted else "a newer version of cmt_search"
    raise ExportError(
        f"{where}: version={version} was written by {who}, and this one reads {wanted}; {hint}"
    )


def _fields(data: object, *, where: str) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise ExportError(f"{where}: {data!r:.60} is no description of a variant; {HINT}")
    if data.get("format") != FORMAT:
        raise ExportError(
            f"{where}: format={data.get('format')!r:.60} is not {FORMAT!r}; "
            "give a file that `cmt-search export` wrote"
        )
    check_version(data.get("version"), wanted=VERSION, where=where, hint=_AGAIN)
    for name in ("name", "arch", "params", "macs", "activations", "provenance", "key", CHECKSUMS):
        if name not in data:
            raise ExportError(
                f"{where}: {name} is missing: the file was modified or truncated; {HINT}"
            )
    return data
