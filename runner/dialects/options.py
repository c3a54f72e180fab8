"""Reads a dialect's own settings: known names only, each with its default."""

from collections.abc import Mapping

from runner.core.errors import UsageError, quoted
from runner.dialects.complaints import nearest
from runner.dialects.dialect import Options, Tag

TAG_NAME_LONGEST = 64
"""A metadata key's bound: the tag is one."""


def settled(dialect: str, options: Options, defaults: Mapping[str, str]) -> dict[str, str]:
    """Return the options with the defaults filled in; `tag` is every dialect's.

    Raises UsageError for an unknown name, or a tag that no metadata map can hold.
    """
    known = {"tag": Tag().name, **defaults}
    for name in options:
        if name not in known:
            raise UsageError(
                f"no such option{nearest(name, known)}",
                where=f"dialect {dialect}: {name}",
                remedy=f"known are {', '.join(known)}",
            )
    chosen = {**known, **options}
    if len(chosen["tag"]) > TAG_NAME_LONGEST:
        raise UsageError(
            f"{quoted(chosen['tag'])} is longer than {TAG_NAME_LONGEST} characters",
            where=f"dialect {dialect}: tag",
            remedy="choose a shorter name",
        )
    return chosen
