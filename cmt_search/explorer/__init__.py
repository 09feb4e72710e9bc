"""The interactive explorer: a study in the browser, live while its run goes on."""

from cmt_search.explorer.app import create_app
from cmt_search.explorer.serving import serve

__all__ = ["create_app", "serve"]
