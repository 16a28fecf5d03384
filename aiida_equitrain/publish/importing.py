"""Import a checked archive into the loaded profile, for those who run steps of it again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from aiida import orm
from aiida.common.exceptions import AiidaException
from aiida.tools.archive import import_archive

from .archive import ArchivedNode, _files, digest, opened, quiet, read_nodes
from .scrub import HOME_OF, WITH_TEXT, Scrubber
from .write import user_names


def import_clean(path: Path) -> None:
    """Import a clean copy into the loaded profile; what is there already has to be the same.

    :raises ValueError: with a sentence, if it is not.
    """
    with opened(path) as (_, connection):
        theirs = {node.uuid: node for node in read_nodes(connection)}
    ours = list(_nodes_here(list(theirs)))
    scrubber = Scrubber.of_this_machine(_people_here([node for node in ours if not _is_same(node, theirs[node.uuid])]))
    for node in ours:
        if not _is_same(node, theirs[node.uuid], scrubber):
            raise ValueError(
                f'the node {node.uuid} of the archive is in this profile already, and another one: run it in a profile '
                'of its own, `verdi presto -p NAME` and `aiida-equitrain -p NAME`'
            )
    if len(ours) == len(theirs):
        return
    try:
        with quiet('aiida.export'):  # The tool for imports logs there, too.
            import_archive(path, create_group=False, import_new_extras=False)
    except AiidaException as error:
        raise ValueError(f'AiiDA cannot import the archive: {error}') from error


def _nodes_here(uuids: list[str]) -> Iterator[ArchivedNode]:
    """Yield those of these nodes that are in the loaded profile."""
    for start in range(0, len(uuids), 500):
        builder = orm.QueryBuilder().append(orm.Node, filters={'uuid': {'in': uuids[start : start + 500]}})
        for node in builder.all(flat=True):
            links = [(link.node.uuid, link.link_type.value, link.link_label) for link in node.base.links.get_incoming()]
            files = dict(_files(node.uuid, node.base.repository.metadata))
            attributes = node.base.attributes.all
            yield ArchivedNode(node.uuid, node.node_type, node.process_type or '', attributes, files, links)


def _people_here(nodes: list[ArchivedNode]) -> set[str]:
    """Return the names of the people of the profile, and of those whose folders paths in these nodes lead to."""
    names = {f'{user.first_name} {user.last_name}' for user in orm.User.collection.all() if user.last_name}
    names.update(user_names())
    for node in nodes:
        names.update(HOME_OF.findall(json.dumps(node.attributes)))
        if node.node_type.startswith(WITH_TEXT):
            repository = orm.load_node(node.uuid).base.repository
            for name in node.files:
                names.update(HOME_OF.findall(repository.get_object_content(name, 'rb').decode(errors='replace')))
    return names


def _is_same(ours: ArchivedNode, theirs: ArchivedNode, scrubber: Scrubber | None = None) -> bool:
    """Return whether a node of the profile is that of the archive, but for what publishing takes out.

    The profile may be the publisher's own, where names stand in attributes and in the text files of jobs, and where
    data may come from other processes as well.
    """
    links, known = set(theirs.links), set(ours.links)
    if links != known and (ours.node_type.startswith('process.') or not links <= known):
        return False
    first, second = ((node.node_type, node.process_type, set(node.files)) for node in (ours, theirs))
    if first != second:
        return False
    changed = [name for name, key in ours.files.items() if key != theirs.files[name]]
    if scrubber is None:
        return not changed and digest(ours.attributes) == digest(theirs.attributes)
    if digest(theirs.attributes) not in map(digest, (ours.attributes, scrubber.clean_attributes(ours.attributes))):
        return False
    if changed and not ours.node_type.startswith(WITH_TEXT):
        return False
    repository = orm.load_node(ours.uuid).base.repository
    cleaned = {name: scrubber.clean_file(repository.get_object_content(name, 'rb')) for name in changed}
    return all(hashlib.sha256(content).hexdigest() == theirs.files[name] for name, content in cleaned.items())
