#!/usr/bin/env bash
# Fail unless a tag vX.Y.Z names the version of the package, of CITATION.cff and of a chapter of the changelog.
#
#   bash scripts/check_tag.sh v0.2.0
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
version="$(sed -n "s/^__version__ = '\(.*\)'/\1/p" aiida_equitrain/__init__.py)"
fail() {
    echo "$*" >&2
    exit 1
}
[ "${1:-}" = "v$version" ] || fail "the tag is \"${1:-}\", the version \"$version\": it has to be \"v$version\""
grep -qx "version: $version" CITATION.cff || fail "CITATION.cff names another version than $version"
grep -q "^## $version" CHANGELOG.md || fail "CHANGELOG.md has no chapter \"## $version\""
