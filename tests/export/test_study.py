"""A study as CSV, Parquet and as a database of Optuna's."""

import csv
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import optuna
import pandas as pd
import pytest
from pyarrow import parquet

import cmt_search
from cmt_search.analysis import trials_frame
from cmt_search.cli import invoke
from cmt_search.errors import ExportError, RunError
from cmt_search.export import STUDY_FORMATS, export_study
from cmt_search.export.study_table import read_csv, write_csv
from cmt_search.search import read_trials
from tests.cli.test_mistakes import RULE, evaluator, grows

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


@pytest.mark.parametrize("kind", STUDY_FORMATS)
def test_a_study_comes_back_as_it_was(kind: str, run: Path, tmp_path: Path) -> None:
    before = (run / "study.db").read_bytes()
    path = export_study(run, format=kind, folder=tmp_path)
    pd.testing.assert_frame_equal(cmt_search.load_study(path), trials_frame(read_trials(run)))
    assert path.name == STUDY_FORMATS[kind].file
    assert (run / "study.db").read_bytes() == before
    expected = {path.name, *STUDY_FORMATS[kind].beside}
    assert {p.name for p in tmp_path.iterdir()} == expected, "nothing else is left there"


def test_optuna_alone_reads_the_copy(run: Path, tmp_path: Path) -> None:
    path = export_study(run, format="optuna", folder=tmp_path)
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{path}")
    assert study.study_name == "tiny"
    ours = [record for record in read_trials(run) if record.state == "complete"]
    assert len(study.get_trials(states=[optuna.trial.TrialState.COMPLETE])) == len(ours)
    assert study.best_value == max(record.values[0] for record in ours)


@pytest.mark.parametrize("kind", STUDY_FORMATS)
def test_something_else_is_overwritten_only_on_demand(kind: str, run: Path, tmp_path: Path) -> None:
    file = tmp_path / STUDY_FORMATS[kind].file
    file.write_text("mine")
    with pytest.raises(ExportError, match=r"study\.\w+ exists and holds something else; add --fo"):
        export_study(run, format=kind, folder=tmp_path)
    assert file.read_text() == "mine"
    assert len(cmt_search.load_study(export_study(run, format=kind, folder=tmp_path, force=True)))


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
        (lambda rows: rows[2].pop(), r"row 3 has 35 fields, not 36"),
        (set_cell("top1", "0.123"), r"column top1 was changed"),
        (set_cell("seconds", "1.0"), r"column seconds was changed"),
        (lambda rows: rows.pop(), r"has \d+ rows, and was written with \d+"),
    ],
)
def test_a_changed_table_is_refused_by_the_column(
    change: Edit, message: str, run: Path, tmp_path: Path
) -> None:
    path = export_study(run, format="csv", folder=tmp_path)
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    change(rows)
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    with pytest.raises(ExportError, match=message) as caught:
        cmt_search.load_study(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("kind", STUDY_FORMATS)
def test_a_truncated_study_is_refused(kind: str, run: Path, tmp_path: Path) -> None:
    path = export_study(run, format=kind, folder=tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ExportError, match=rf"{path.name}.*(cut short|cannot be read|damaged)"):
        cmt_search.load_study(path)


def test_a_table_whose_description_is_gone_or_broken_is_refused(run: Path, tmp_path: Path) -> None:
    path = export_study(run, format="csv", folder=tmp_path)
    about = path.with_name("study.csv-metadata.json")
    told = json.loads(about.read_text())
    assert [column["name"] for column in told["tableSchema"]["columns"]] == list(
        pd.read_csv(path).columns
    )
    assert told["url"] == "study.csv"
    about.write_text(json.dumps({**told, "notes": [{"rows": "many"}]}))
    with pytest.raises(ExportError, match=r"study\.csv: its seal is missing or broken"):
        cmt_search.load_study(path)
    for text in ("{", "[]", "{}"):
        about.write_text(text)
        with pytest.raises(ExportError, match=r"metadata\.json: notes cannot be read .*read_csv"):
            cmt_search.load_study(path)
    about.unlink()
    with pytest.raises(ExportError, match=r"metadata\.json: notes cannot be read .*No such file"):
        cmt_search.load_study(path)


def test_words_of_several_lines_come_back(run: Path, tmp_path: Path) -> None:
    table = trials_frame(read_trials(run))
    table.loc[0, "reason"] = 'first "line"\nsecond, line\u2028third'
    write_csv(run, table, tmp_path / "study.csv")
    pd.testing.assert_frame_equal(read_csv(tmp_path / "study.csv"), table)


def test_a_changed_parquet_file_is_refused(run: Path, tmp_path: Path) -> None:
    path = export_study(run, format="parquet", folder=tmp_path)
    table = parquet.read_table(path)
    better = [[0.99, *table["top1"].to_pylist()[1:]]]
    place = table.column_names.index("top1")
    parquet.write_table(table.set_column(place, table.schema.field("top1"), better), path)
    with pytest.raises(ExportError, match=r"study\.parquet: column top1 was changed"):
        cmt_search.load_study(path)
    pd.DataFrame({"trial": [1]}).to_parquet(path)
    with pytest.raises(ExportError, match=r"metadata cmt_search\.study=None is not"):
        cmt_search.load_study(path)


def test_a_changed_database_is_refused_by_the_trial(run: Path, tmp_path: Path) -> None:
    path = export_study(run, format="optuna", folder=tmp_path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE study_user_attributes SET value_json = '{}'")
    connection.close()
    with pytest.raises(ExportError, match=r"study\.db: its seal is missing or broken"):
        cmt_search.load_study(path)
    path = export_study(run, format="optuna", folder=tmp_path, force=True)
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM trials WHERE number = 1")
    connection.close()
    with pytest.raises(ExportError, match=r"study\.db: has \d+ rows, and was written with \d+"):
        cmt_search.load_study(path)
    path = export_study(run, format="optuna", folder=tmp_path, force=True)
    with sqlite3.connect(path) as connection:
        connection.execute(
            "UPDATE trial_user_attributes SET value_json = '\"[{}]\"' WHERE key = 'candidate'"
        )
    connection.close()
    with pytest.raises(ExportError, match=r"study\.db: trial \d+: .* is missing or broken"):
        cmt_search.load_study(path)
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM studies")
    connection.close()
    with pytest.raises(ExportError, match=r"study\.db: holds 0 studies, not one"):
        cmt_search.load_study(path)


def test_what_is_no_study_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"is no exported study; give a file that ends in \.csv"):
        cmt_search.load_study(tmp_path / "x.txt")
    with pytest.raises(ExportError, match="format 'xml' of a study is unknown; use csv, parquet"):
        export_study(run, format="xml", folder=tmp_path)
    with pytest.raises(RunError, match="holds no run"):
        export_study(tmp_path, format="csv", folder=tmp_path)
