#!/bin/bash
# Runs the public failure reports against this edge: field.sh [G06 G43 …]. Writes target/field/{report,from-disk,asked}.{txt,json}.
# A report, not a gate: the exit status is 0 unless FIELD_GATE is set.
set -euo pipefail

if [ ! -f "$SHARED/fieldtests/run.py" ]; then
  echo "field: skipped: no failure reports here ($SHARED/fieldtests is absent)"
  exit 0
fi
scripts/need.sh python3 venv openssl
out=target/field
venv=${XDG_CACHE_HOME:-$HOME/.cache}/lectern-field
if [ ! -f "$venv/ready" ]; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install -q --disable-pip-version-check h2==4.3.0 hpack==4.1.0 hyperframe==6.1.0
  touch "$venv/ready"
fi
mkdir -p $out
status=0
LECTERN=$(realpath "$LECTERN")
export LECTERN FIELDTESTS_ADAPTERS=$PWD/tests/field PYTHONDONTWRITEBYTECODE=1

report() { # NAME [G06 …]: writes NAME.txt and NAME.json, prints a line for each case
  local name=$1
  shift
  "$venv/bin/python" "$SHARED/fieldtests/run.py" lectern "$@" --json "$out/$name.json" -v >"$out/$name.txt" 2>&1 || status=$?
  grep -E '^G[0-9]+ ' "$out/$name.txt" || true
  tail -1 "$out/$name.txt"
  echo "field: $out/$name.txt says more"
}

report report "$@"
# Those about ranges again with a memory that holds next to nothing, so that they are answered from disk.
again=$(printf '%s\n' "${@:-G03 G04 G05}" | tr ' ' '\n' | grep -xE 'G0[345]' || true)
if [ -n "$again" ]; then
  echo 'field: again from disk:'
  # shellcheck disable=SC2086
  FIELD_MEMORY=$((1 << 20)) report from-disk $again
fi
# Those about private data again with access on: the origin decides who may have what is stored.
again=$(printf '%s\n' "${@:-G25 G26 G27 G28 G39 G41}" | tr ' ' '\n' | grep -xE 'G(2[5678]|39|41)' || true)
if [ -n "$again" ]; then
  echo 'field: again with access asked of the origin:'
  # shellcheck disable=SC2086
  FIELD_ASKED=1 report asked $again
fi
[ -z "${FIELD_GATE:-}" ] || exit $status
