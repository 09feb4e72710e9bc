"""report, inspect."""

import sys
import warnings
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cmt_search.cli.options import Json, RunArgument, RunsArgument

if TYPE_CHECKING:
    from cmt_search.study import Study


def report(
    run: RunArgument,
    to: Annotated[Path | None, typer.Option(help="File; default: report.html in the run.")] = None,
    png: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write every figure as PNG there too.")
    ] = None,
    svg: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write every figure as SVG there too.")
    ] = None,
    price: Annotated[
        float | None, typer.Option(min=0, help="Price of a device-hour; adds the cost.")
    ] = None,
    json: Json = False,
) -> None:
    """Write a self-contained report.html, and print the conclusion and the next step.

    --png and --svg need the extra `images` and a Chrome or Chromium.
    """
    from cmt_search.analysis import (
        explanation,
        front_rows,
        law_sentences,
        study_headline,
        summary,
        target_rows,
    )
    from cmt_search.cli.console import print_json, say, say_paths, show_table
    from cmt_search.study import load_study

    study = load_study(run)
    analysis = study.analysis
    with warnings.catch_warnings(record=True) as caught:
        path = study.report(to, price=price)
    step = study.next_step(price=price)
    sys.stderr.writelines(f"{warning.message}\n" for warning in caught)
    images = _images(study, png=png, svg=svg)
    if json:
        written = {"images": [str(image) for image in images]} if images else {}
        found = {**summary(analysis), "next_step": step.summary}
        print_json({"report": str(path), **written, **found})
        return
    say_paths([path, *images])
    show_table(front_rows(analysis), title="Pareto front")
    say(study_headline(analysis))
    if analysis.verdict is not None:
        for sentence in explanation(analysis.verdict):
            say(f"  {sentence}")
    for sentence in law_sentences(analysis):
        say(f"  {sentence}")
    say(f"Next step: {step.text}")
    for command in step.commands:
        if "\n" not in command:
            say(f"  {command}")
    show_table(target_rows(step), title="Seeds and device-hours")
    for image in images:
        say(f"image: {image}")
    say(f"report: {path}")


def _images(study: "Study", *, png: Path | None, svg: Path | None) -> list[Path]:
    from cmt_search.analysis import write_images

    folders = [(folder, kind) for folder, kind in ((png, "png"), (svg, "svg")) if folder]
    drawn = study.figures() if folders else {}
    return [path for folder, kind in folders for path in write_images(drawn, folder, kind=kind)]


def inspect(
    runs: RunsArgument,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.")] = 8050,
    host: Annotated[
        str, typer.Option(help="Address to listen on; beyond this machine a token is asked for.")
    ] = "127.0.0.1",
    browser: Annotated[bool, typer.Option(help="Open the browser.")] = True,
    json: Json = False,
) -> None:
    """Explore runs in the browser, live while they go on; Ctrl-C ends it.

    The address in the browser carries the view: copy it to keep or to share it. With --host a
    token is made and printed with the address; traffic is not encrypted, so beyond a trusted
    network prefer ssh -L.

    --json prints url and runs, once the address answers.
    """
    from cmt_search.cli.console import is_quiet, print_json, say
    from cmt_search.cli.inspecting import studies_of
    from cmt_search.explorer import create_app, new_token, serve
    from cmt_search.explorer.serving import LOOPBACK

    studies = studies_of(runs)
    token = None if host in LOOPBACK else new_token()
    app = create_app(*studies, token=token, read_ahead=True)

    def ready(url: str) -> None:
        names = [study.name for study in studies]
        if json:
            print_json({"url": url, "runs": names})
        else:
            said = f"{', '.join(names)}: {url} (Ctrl-C ends)"
            say(url if is_quiet() else said, result=True)
        sys.stdout.flush()  # a pipe would keep it until the end
        if browser:
            webbrowser.open(url)

    serve(app, host=host, port=port, token=token, on_ready=ready)
