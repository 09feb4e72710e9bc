"""report, inspect."""

import webbrowser
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cmt_search.cli.options import Json, RunArgument

if TYPE_CHECKING:
    from cmt_search.search import RunFolder


def report(
    run: RunArgument,
    to: Annotated[Path | None, typer.Option(help="File; default: report.html in the run.")] = None,
    json: Json = False,
) -> None:
    """Write a self-contained report.html, and say what the study says."""
    from cmt_search.analysis import explanation, headline, law_sentences, summary, write_report
    from cmt_search.cli.console import print_json, say, show_table
    from cmt_search.cli.wiring import STUDIES, analysis_of, space_of
    from cmt_search.search import RunFolder

    folder = RunFolder.open(run)
    analysis = analysis_of(run, studies=STUDIES, laws=True)
    path = write_report(
        analysis,
        to or folder.report,
        title=folder.info().name,
        family_table=_family_rows(folder),
        provenance={**asdict(folder.info()), "space": space_of(folder).model_dump(mode="json")},
    )
    if json:
        print_json({"report": str(path), **summary(analysis)})
        return
    members = analysis.front.members
    columns = zip(members["name"], members["macs"], members["params"], members["top1"], strict=True)
    show_table(
        (
            {"on the front": name, "MACs": f"{m:,.0f}", "params": f"{p:,.0f}", "top1": f"{t:.1%}"}
            for name, m, p, t in columns
        ),
        title="Pareto front",
    )
    if analysis.verdict is None:
        say(analysis.no_verdict)
    else:
        say(headline(analysis.verdict))
        for sentence in explanation(analysis.verdict):
            say(f"  {sentence}")
    for sentence in law_sentences(analysis):
        say(f"  {sentence}")
    say(f"report: {path}")


def _family_rows(folder: "RunFolder") -> list[dict[str, object]]:
    """The members that `family` wrote, if it was called before."""
    from cmt_search.cost import cost
    from cmt_search.export import read_family

    if not folder.family.exists():
        return []
    members = [(m.name, m.arch, cost(m.arch)) for m in read_family(folder.family)]
    return [
        {
            "member": name,
            "MACs": f"{measured.macs:,}",
            "params": f"{measured.params:,}",
            "px": str(arch.resolution),
            "widths": "-".join(str(s.width) for s in arch.stages),
            "depths": "-".join(str(s.depth) for s in arch.stages),
        }
        for name, arch, measured in members
    ]


def inspect(
    run: RunArgument,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.")] = 8050,
    browser: Annotated[bool, typer.Option(help="Open the browser.")] = True,
) -> None:
    """Explore a run in the browser, live while it goes on; Ctrl-C ends it."""
    from cmt_search.cli.console import say
    from cmt_search.cli.wiring import analysis_of
    from cmt_search.explorer import create_app, serve
    from cmt_search.search import RunFolder

    folder = RunFolder.open(run)
    app = create_app(
        lambda: analysis_of(run), title=folder.info().name, stamp=lambda: _stamp(folder)
    )

    def ready(url: str) -> None:
        say(f"{folder.info().name}: {url} (Ctrl-C ends)")
        if browser:
            webbrowser.open(url)

    serve(app, port=port, on_ready=ready)


def _stamp(folder: "RunFolder") -> tuple[int, ...]:
    """Changes whenever the study does."""
    files = (folder.study, folder.study.with_name(folder.study.name + "-wal"))
    return tuple(f.stat().st_mtime_ns if f.exists() else 0 for f in files)
