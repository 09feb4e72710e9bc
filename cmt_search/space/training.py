"""Recipe files: how one network is trained, apart from any search."""

from pathlib import Path

from cmt_search.errors import SpaceError
from cmt_search.space.load import read_mapping, read_text, validated_as
from cmt_search.space.sections import Proxy

_WHAT = "a recipe file, such as recipes/proxy_long.yaml"


def load_training(path: Path | str) -> Proxy:
    """Read a recipe file: the keys of a space file's `proxy` section, at its top.

    A space file will do as well; then its `proxy` section is taken.

    Raises:
        SpaceError: it is missing, is no YAML, or says something impossible; the message names the
            file, the key path and the remedy.
    """
    data = read_mapping(
        read_text(path, what=_WHAT), source=str(path), begin="`epochs:` and `recipe:`"
    )
    of_space = "kind" in data
    section = data.get("proxy", {}) if of_space else data
    if not isinstance(section, dict):
        raise SpaceError(f"{path}: proxy holds no mapping; write epochs and recipe below it")
    try:
        return validated_as(Proxy, section, source=str(path))
    except SpaceError as error:  # recipes name their keys as space files do
        raise SpaceError(str(error) if of_space else str(error).replace(": proxy.", ": ")) from None
