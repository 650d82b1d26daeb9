#!/bin/bash
# Runs the end-to-end test in an environment of its own, made once per machine.
set -euo pipefail

scripts/need.sh python3 venv
export PYTHONDONTWRITEBYTECODE=1
cache=${XDG_CACHE_HOME:-$HOME/.cache}/lectern-e2e
venv=$cache/browser-$(sha256sum tests/e2e/requirements.txt | cut -c1-12)

if [ -f "$SHARED/lms-facts/kolibri/start_kolibri.sh" ]; then
  scripts/need.sh curl ffmpeg zip openssl chromium certutil
  if [ ! -x "$venv/bin/playwright" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check -r tests/e2e/requirements.txt
  fi
  exec "$venv/bin/python" tests/e2e/run.py
fi
echo "e2e: skipped: no recipe for a real Kolibri here ($SHARED/lms-facts is absent)"
