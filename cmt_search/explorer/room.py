"""The studies that a page shows, and what is known of them now."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from dash.exceptions import PreventUpdate

from cmt_search.analysis import Analysis
from cmt_search.explorer.live import Live, Snapshot
from cmt_search.explorer.study import Study

_FIRST_LOOKS = 300  # milliseconds between looks until the study is read


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """All studies by name; the first is shown where none is asked for."""

    studies: Mapping[str, Study]
    lives: Mapping[str, Live]
    refresh_seconds: float
    _last: dict[str, Any] = field(default_factory=dict, repr=False)

    def study(self, run: str | None) -> Study:
        """The study of this name, or the first."""
        return self.studies.get(run or "") or next(iter(self.studies.values()))

    def snapshot(self, run: str | None) -> Snapshot:
        """What is known of it, without waiting."""
        return self.lives[self.study(run).name].snapshot

    def known(self, run: str | None) -> Analysis:
        """Its analysis; while there is none the page stays as it is."""
        analysis = self.snapshot(run).analysis
        if analysis is None:
            raise PreventUpdate
        return analysis

    def laid_over(self, run: str | None, overlays: Collection[str]) -> dict[str, Snapshot]:
        """What is known of the other studies that are asked for, as `run:NAME`."""
        own = self.study(run).name
        return {
            name: live.snapshot
            for name, live in self.lives.items()
            if f"run:{name}" in overlays and name != own
        }

    def remembered(self, key: str, make: Callable[[], Any]) -> Any:
        """What was made last, where it was made for this key and nothing was read since."""
        key = f"{self.version} {key}"
        held: tuple[str, Any] | None = self._last.get("made")
        if held is None or held[0] != key:
            held = (key, make())
            self._last["made"] = held
        return held[1]

    def refresh(self) -> int:
        """Read what has changed; the version of all."""
        for live in self.lives.values():
            live.refresh()
        return self.version

    @property
    def version(self) -> int:
        """The version of all, without reading."""
        return sum(live.snapshot.version for live in self.lives.values())

    @property
    def pause(self) -> float:
        """Milliseconds until a page looks again."""
        return 1000 * self.refresh_seconds if self.complete else _FIRST_LOOKS

    @property
    def complete(self) -> bool:
        """Whether every study was read, or cannot be."""
        snapshots = [live.snapshot for live in self.lives.values()]
        return all(s.analysis is not None or s.problem for s in snapshots)
