#!/bin/bash
# Runs the public failure reports against this edge: field.sh [G06 G43 …]. Writes target/field/report.{txt,json}.
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
LECTERN=$(realpath "$LECTERN") FIELDTESTS_ADAPTERS=$PWD/tests/field PYTHONDONTWRITEBYTECODE=1 \
  "$venv/bin/python" "$SHARED/fieldtests/run.py" lectern "$@" --json $out/report.json -v >$out/report.txt 2>&1 || status=$?
grep -E '^G[0-9]+ ' $out/report.txt || true
tail -1 $out/report.txt
echo "field: $out/report.txt says more"
[ -z "${FIELD_GATE:-}" ] || exit $status
