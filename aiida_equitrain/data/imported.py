"""What came with an archive, and may say of itself what its maker liked."""

from __future__ import annotations

from aiida import orm


def is_imported(entity: orm.Node | orm.Computer) -> bool:
    """Return whether a node, or a node of a computer, came with an archive.

    ``verdi archive import`` puts all nodes into a group.
    """
    builder = orm.QueryBuilder().append(orm.ImportGroup, tag='group')
    if isinstance(entity, orm.Node):
        return builder.append(orm.Node, with_group='group', filters={'uuid': entity.uuid}).count() > 0
    builder.append(orm.Node, with_group='group', tag='node')
    return builder.append(orm.Computer, with_node='node', filters={'uuid': entity.uuid}).count() > 0
