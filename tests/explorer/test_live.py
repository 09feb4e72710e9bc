import threading

from cmt_search.analysis import Analysis, study_headline
from cmt_search.errors import RunError
from cmt_search.explorer.live import Live, Snapshot
from cmt_search.explorer.words import evidence, status
from tests.analysis.studies import measurement, record, rung
from tests.explorer.conftest import analysed
from tests.messages import mentions


class Study:
    """Grows, breaks and mends on demand, and counts how often it is read."""

    def __init__(self, records: tuple) -> None:
        self.records, self.count, self.broken, self.reads = records, 2, "", 0

    def stamp(self) -> int:
        return self.count

    def load(self) -> Analysis:
        self.reads += 1
        if self.broken:
            raise RunError(self.broken)
        return analysed(self.records[: self.count])


def test_a_study_is_read_again_only_when_its_stamp_has_changed(records: tuple) -> None:
    study = Study(records)
    live = Live(study.load, stamp=study.stamp)
    assert live.snapshot.analysis is None
    assert [live.refresh().version for _ in range(3)] == [1, 1, 1]
    assert study.reads == 1
    study.count = 3
    assert live.refresh().version == 2
    assert len(live.snapshot.analysis.records) == 3
    assert study.reads == 2


def test_without_a_stamp_only_new_records_make_a_new_version(records: tuple) -> None:
    study = Study(records)
    live = Live(study.load)
    assert [live.refresh().version for _ in range(2)] == [1, 1]
    assert study.reads == 2
    study.count = 3
    assert live.refresh().version == 2


def test_a_study_that_cannot_be_read_keeps_the_last_one_and_tries_again(records: tuple) -> None:
    study = Study(records)
    live = Live(study.load, stamp=study.stamp)
    study.broken = "runs/x has no study yet; wait until it has begun"
    assert status(live.refresh()) == study.broken
    study.broken = ""
    good = live.refresh()
    assert (good.version, good.problem) == (1, "")
    study.broken, study.count = "the disk is gone; mount it", 3
    bad = live.refresh()
    assert bad.analysis is good.analysis
    assert status(bad).endswith("The study cannot be read now: the disk is gone; mount it")
    study.broken, study.count = "", 2
    assert "cannot be read" not in status(live.refresh())


def test_who_asks_while_another_reads_is_answered_at_once(records: tuple) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def load() -> Analysis:
        begun.set()
        assert go_on.wait(timeout=20)
        return analysed(records[:2])

    live = Live(load)
    reader = threading.Thread(target=live.refresh)
    reader.start()
    assert begun.wait(timeout=20)
    assert live.refresh().version == 0
    go_on.set()
    reader.join(timeout=20)
    assert live.snapshot.version == 1


def test_the_status_counts_trials_by_state(analysis: Analysis) -> None:
    said = status(Snapshot(version=1, analysis=analysis, read_at="12:00:00"))
    counts = "18 trials (17 complete, 1 failed) ... 51 networks ... 5.1 minutes ... 12:00:00"
    assert mentions(said, counts)


def test_the_finding_is_the_reports(analysis: Analysis) -> None:
    assert study_headline(analysis).startswith("Resolved: the best rules lie around depth 0.")
    assert len(evidence(analysis)) >= 3
    few = analysed([record(0, (rung(), [measurement(0.5)]))])
    assert study_headline(few).startswith("No verdict: ")
    assert evidence(few) == ()
