"""The interactive explorer: a study in the browser, live while its run goes on."""

from cmt_search.explorer.app import create_app
from cmt_search.explorer.live import Live, Snapshot, study_stamp
from cmt_search.explorer.serving import check_host, serve

__all__ = ["Live", "Snapshot", "check_host", "create_app", "serve", "study_stamp"]
