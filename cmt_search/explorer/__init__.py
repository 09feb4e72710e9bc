"""The interactive explorer: studies in the browser, live while their runs go on."""

from cmt_search.explorer.access import new_token
from cmt_search.explorer.app import create_app
from cmt_search.explorer.serving import serve
from cmt_search.explorer.study import Study

__all__ = ["Study", "create_app", "new_token", "serve"]
