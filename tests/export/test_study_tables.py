"""A study as CSV, Parquet and as a database of Optuna's."""

import csv
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import optuna
import pandas as pd
import pytest
from pyarrow import parquet

import cmt_search
from cmt_search.analysis import trainings_frame
from cmt_search.cli import invoke
from cmt_search.errors import ExportError, RunError
from cmt_search.export import STUDY_FORMATS, export_study
from cmt_search.export.study_tables import read_csv, write_csv
from cmt_search.search import read_trials
from tests.analysis.studies import record
from tests.cli.test_mistakes import RULE, evaluator, grows
from tests.export.damage import refusals

Edit = Callable[[list[list[str]]], object]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of which nothing was trained."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "space.yaml").write_text(RULE)
    with pytest.MonkeyPatch.context() as patch:
        evaluator(patch, grows)
        arguments = ["--runs", str(folder), "--name", "tiny", "--executor", "inline"]
        assert invoke(["run", str(folder / "space.yaml"), *arguments, "--json"]) == 0
    return folder / "tiny"


@pytest.fixture(scope="module")
def exports(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the study in every format; to be copied from."""
    folder = tmp_path_factory.mktemp("exports")
    for kind in STUDY_FORMATS:
        export_study(run, format=kind, folder=folder)
    return folder


@pytest.fixture
def copied(exports: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(exports, tmp_path / "exports"))


@pytest.mark.parametrize("kind", STUDY_FORMATS)
def test_a_study_comes_back_as_it_was(kind: str, run: Path, tmp_path: Path) -> None:
    before = (run / "study.db").read_bytes()
    path = export_study(run, format=kind, folder=tmp_path)
    for read in (cmt_search.export.read_study, cmt_search.load):
        pd.testing.assert_frame_equal(read(path), trainings_frame(read_trials(run)))
    assert path.name == STUDY_FORMATS[kind].file
    assert (run / "study.db").read_bytes() == before
    expected = {path.name, *STUDY_FORMATS[kind].beside}
    assert {p.name for p in tmp_path.iterdir()} == expected, "nothing else is left there"


def test_optuna_alone_reads_the_copy(run: Path, copied: Path) -> None:
    path = copied / "study.db"
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{path}")
    assert study.study_name == "tiny"
    ours = [record for record in read_trials(run) if record.state == "complete"]
    assert len(study.get_trials(states=[optuna.trial.TrialState.COMPLETE])) == len(ours)
    assert study.best_value == max(record.values[0] for record in ours)


def test_something_else_is_overwritten_only_on_demand(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "study.csv"
    file.write_text("mine")
    with pytest.raises(ExportError, match=r"study\.csv exists .*--force"):
        export_study(run, format="csv", folder=tmp_path)
    assert file.read_text() == "mine"
    path = export_study(run, format="csv", folder=tmp_path, force=True)
    assert len(cmt_search.export.read_study(path))


def set_cell(column: str, value: str) -> Edit:
    def change(rows: list[list[str]]) -> None:
        rows[1][rows[0].index(column)] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_cell("top1", "many"), r"column top1: .*many"),
        (set_cell("top1", "1.5"), r"column top1: 1\.5 is not possible"),
        (set_cell("macs", "-3"), r"column macs: -3 is not possible"),
        (set_cell("macs", "1.5"), r"column macs: "),
        (set_cell("state", "done"), r"column state: done is not possible"),
        (set_cell("reused", "maybe"), r"column reused: 'maybe' is neither True nor False"),
        (lambda rows: [row.pop(3) for row in rows], r"column replicate is missing"),
        (lambda rows: rows[0].insert(0, "more"), r"column more is unknown or out of order"),
        (lambda rows: rows[2].pop(), r"row 3 has 37 fields, not 38"),
        (set_cell("top1", "0.123"), r"mismatch in column top1"),
        (set_cell("seconds", "1.0"), r"mismatch in column seconds"),
        (lambda rows: rows.pop(), r"has \d+ rows, and was written with \d+"),
    ],
)
def test_a_changed_table_is_refused_by_the_column(change: Edit, message: str, copied: Path) -> None:
    path = copied / "study.csv"
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    change(rows)
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    with pytest.raises(ExportError, match=message) as caught:
        cmt_search.export.read_study(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("kind", STUDY_FORMATS)
def test_a_truncated_study_is_refused(kind: str, copied: Path) -> None:
    path = copied / STUDY_FORMATS[kind].file
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ExportError, match=rf"{path.name}.*(cut short|cannot be read|damaged)"):
        cmt_search.export.read_study(path)


def test_a_table_whose_description_is_gone_or_broken_is_refused(copied: Path) -> None:
    path = copied / "study.csv"
    about = path.with_name("study.csv-metadata.json")
    told = json.loads(about.read_text())
    assert [column["name"] for column in told["tableSchema"]["columns"]] == list(
        pd.read_csv(path).columns
    )
    assert told["url"] == "study.csv"
    about.write_text(json.dumps({**told, "notes": [{**told["notes"][0], "rows": "many"}]}))
    with pytest.raises(ExportError, match=r"study\.csv: its checksums are missing or malformed"):
        cmt_search.export.read_study(path)
    for text in ("{", "[]", "{}", '{"notes": 3}'):
        about.write_text(text)
        with pytest.raises(ExportError, match=r"metadata\.json: notes cannot be read .*read_csv"):
            cmt_search.export.read_study(path)
    about.unlink()
    with pytest.raises(ExportError, match=r"metadata\.json: notes cannot be read .*No such file"):
        cmt_search.export.read_study(path)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_damaged_study_is_refused_or_gives_the_same(kind: str, copied: Path) -> None:
    path = copied / STUDY_FORMATS[kind].file
    table = cmt_search.export.read_study(path)
    found = refusals(path, read=lambda: cmt_search.load(path), same=table.equals, places=27)
    assert found > 10, "some of the damage shows"


def test_a_long_reason_with_a_progress_bar_in_it_comes_back(tmp_path: Path) -> None:
    table = trainings_frame([record(0, state="failed", reason="1%\r2%\r\n" + "x" * 200_000)])
    write_csv(tmp_path, table, tmp_path / "study.csv")
    back = read_csv(tmp_path / "study.csv")
    pd.testing.assert_frame_equal(back, table)
    assert back["reason"][0].startswith("1%\n2%\nxxx")


def test_words_of_several_lines_come_back(run: Path, tmp_path: Path) -> None:
    table = trainings_frame(read_trials(run))
    table.loc[0, "reason"] = 'first "line"\nsecond, line\u2028third'
    write_csv(run, table, tmp_path / "study.csv")
    pd.testing.assert_frame_equal(read_csv(tmp_path / "study.csv"), table)


def test_a_changed_parquet_file_is_refused(copied: Path) -> None:
    path = copied / "study.parquet"
    table = parquet.read_table(path)
    better = [[0.99, *table["top1"].to_pylist()[1:]]]
    place = table.column_names.index("top1")
    parquet.write_table(table.set_column(place, table.schema.field("top1"), better), path)
    with pytest.raises(ExportError, match=r"study\.parquet: checksum mismatch in column top1"):
        cmt_search.export.read_study(path)
    pd.DataFrame({"trial": [1]}).to_parquet(path)
    with pytest.raises(ExportError, match=r"metadata cmt_search\.study=None is not"):
        cmt_search.export.read_study(path)


def told(file: Path, statement: str) -> str:
    """What is said of a database after a statement."""
    with sqlite3.connect(file) as connection:
        assert connection.execute(statement).rowcount, "mismatch in field 'something'"
    connection.close()
    with pytest.raises(ExportError) as caught:
        cmt_search.export.read_study(file)
    return str(caught.value)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE trial_user_attributes SET value_json = '\"[{}]\"' WHERE key = 'candidate'",
        "UPDATE trial_user_attributes SET value_json = '{'",
        "UPDATE trials SET state = 'GONE'",
        "DELETE FROM studies",
    ],
)
def test_a_broken_database_is_refused(statement: str, copied: Path) -> None:
    assert str(copied / "study.db") in told(copied / "study.db", statement)


def test_what_is_no_study_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"x\.txt.*\.csv"):
        cmt_search.export.read_study(tmp_path / "x.txt")
    with pytest.raises(ExportError, match=r"format 'xml' .*use csv, parquet"):
        export_study(run, format="xml", folder=tmp_path)
    with pytest.raises(RunError, match="holds no run"):
        export_study(tmp_path, format="csv", folder=tmp_path)
