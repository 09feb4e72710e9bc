"""Checkpoints of trainings, in the run's folder."""

import os
import shutil
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from uuid import uuid4

from cmt_search.search.run_dir import unwritable
from cmt_search.search.types import Job

_MARK = "driver"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoints:
    """The driver's folder of checkpoints, with a subfolder per job; workers get a copy.

    On another machine the same path may be another disk: a worker uses the folder only if it holds
    the driver's mark. Elsewhere jobs keep no checkpoints and restart when they are killed.
    """

    folder: Path
    mark: str

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the folder for a driver; checkpoints of earlier drivers stay.

        Raises:
            RunError: the folder cannot be written.
        """
        folder, mark = folder.resolve(), uuid4().hex
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / _MARK).write_text(mark)
        except OSError as error:
            raise unwritable(folder, error) from error
        return cls(folder=folder, mark=mark)

    def path_for(self, job: Job) -> Path | None:
        """Return the folder of a job, which its training creates; None: not the driver's disk."""
        try:
            usable = (self.folder / _MARK).read_text() == self.mark
        except OSError:
            return None
        writable = usable and os.access(self.folder, os.W_OK)
        return self.folder / job.checkpoint_name if writable else None

    def delete(self, job: Job) -> None:
        """Delete a job's checkpoints; for the driver."""
        shutil.rmtree(self.folder / job.checkpoint_name, ignore_errors=True)

    def retain(self, keys: Container[str]) -> None:
        """Delete the checkpoints of all networks but these; for the driver."""
        for folder in self.folder.glob("*/"):
            if folder.name.split("-")[0] not in keys:
                shutil.rmtree(folder, ignore_errors=True)

    def clear(self) -> None:
        """Delete all checkpoints."""
        shutil.rmtree(self.folder, ignore_errors=True)
