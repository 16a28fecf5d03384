"""What came with an archive, and may say of itself what its maker liked."""

from __future__ import annotations

from aiida import orm


def is_imported(node: orm.Node) -> bool:
    """Return whether a node came with an archive: ``verdi archive import`` puts all of it into a group."""
    builder = orm.QueryBuilder().append(orm.ImportGroup, tag='group')
    return builder.append(orm.Node, with_group='group', filters={'uuid': node.uuid}).count() > 0
