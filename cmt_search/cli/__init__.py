"""The command line: parse, wire, print."""

from cmt_search.cli.app import invoke, main

__all__ = ["invoke", "main"]
