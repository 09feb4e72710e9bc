"""A network under a name, with what it costs and where it comes from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cmt_search.arch import Arch
from cmt_search.cost import cost
from cmt_search.errors import ExportError

FORMAT = "cmt_search/variant"
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What an exported file describes."""

    name: str
    arch: Arch
    provenance: Mapping[str, Any] = field(default_factory=dict)  # plain values

    def to_dict(self) -> dict[str, Any]:
        """The content of a file; key and cost stand in it so that a change is noticed.

        The key comes last: a file that was cut short has none.
        """
        measured = cost(self.arch)
        return {
            "format": FORMAT,
            "version": VERSION,
            "name": self.name,
            "params": measured.params,
            "macs": measured.macs,
            "activations": measured.activations,
            "arch": self.arch.to_dict(),
            "provenance": dict(self.provenance),
            "key": self.arch.key,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, where: str) -> "Variant":
        """Read what `to_dict` wrote.

        Raises:
            ExportError: a field is missing, or says what the network is not; `where` is named.
            ArchError: `arch` describes no network.
        """
        if data.get("format") != FORMAT:
            raise ExportError(
                f"{where}: format={data.get('format')!r} is not {FORMAT!r}; "
                "give a file that `cmt-search export` wrote"
            )
        if data.get("version") != VERSION:
            raise ExportError(
                f"{where}: version={data.get('version')!r} is not {VERSION}; "
                "read it with the cmt_search that wrote it, or export it again"
            )
        for name in ("name", "arch", "params", "macs", "activations", "provenance", "key"):
            if name not in data:
                raise ExportError(
                    f"{where}: {name} is missing, so the file was changed or cut short; "
                    "export the variant again"
                )
        if not isinstance(data["provenance"], Mapping):
            raise ExportError(
                f"{where}: provenance={data['provenance']!r} is no mapping; "
                "export the variant again"
            )
        variant = cls(
            name=str(data["name"]),
            arch=Arch.from_dict(data["arch"]),
            provenance=dict(data["provenance"]),
        )
        variant.check(data, where=where)
        return variant

    def check(self, declared: Mapping[str, Any], *, where: str) -> None:
        """Refuse a key or cost that is not this network's.

        Raises:
            ExportError: a declared field differs.
        """
        truth = self.to_dict()
        for name in ("key", "params", "macs", "activations"):
            if name in declared and declared[name] != truth[name]:
                raise ExportError(
                    f"{where}: {name}={declared[name]!r}, but its arch gives {truth[name]!r}: "
                    "the file was changed; restore it, or export the variant again"
                )
