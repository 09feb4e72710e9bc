"""Where jobs keep their state between epochs, so that a killed one goes on where it was.

A rung goes on from the one before it in the same way, where the recipe allows it.
"""

import os
import shutil
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from uuid import uuid4

from cmt_search.errors import RunError
from cmt_search.search.job import Job

_MARK = "driver"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoints:
    """A folder of the driver's, with a subfolder per job. Workers get a copy of this.

    On another machine a path may exist and be another disk's: a worker uses the folder only where
    it finds in it what the driver wrote, on the same machine or a shared file system. Elsewhere
    jobs keep nothing, and begin anew when they are killed, and with every rung.
    """

    folder: Path
    mark: str

    @classmethod
    def open(cls, folder: Path) -> Self:
        """The driver's; what the driver before it left stays, for its jobs to go on from.

        Raises:
            RunError: the folder cannot be written.
        """
        folder, mark = folder.resolve(), uuid4().hex
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / _MARK).write_text(mark)
        except OSError as error:
            raise RunError(
                f"{folder} cannot be written ({error.strerror}); a run needs a folder that it may "
                "write, on a disk with room"
            ) from error
        return cls(folder=folder, mark=mark)

    def of(self, job: Job) -> Path | None:
        """The folder of a job, which its training makes; None: this process cannot reach it."""
        try:
            here = (self.folder / _MARK).read_text() == self.mark
        except OSError:
            return None
        return self.folder / job.slug if here and os.access(self.folder, os.W_OK) else None

    def drop(self, job: Job) -> None:
        """Forget a job's state, in the driver: it is not tried again, or not from there."""
        shutil.rmtree(self.folder / job.slug, ignore_errors=True)

    def keep(self, keys: Container[str]) -> None:
        """Forget the states of all networks but these, in the driver."""
        for folder in self.folder.glob("*/"):
            if folder.name.split("-")[0] not in keys:
                shutil.rmtree(folder, ignore_errors=True)

    def clear(self) -> None:
        """Forget all states, once a search is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)
