#!/bin/bash
# Sees to it that programs are there: need.sh PROGRAM…
# As root on Debian it installs what is missing (no service is started by that); otherwise it names it in one line.
set -euo pipefail

# The Debian package that brings a program.
package_of() {
  case $1 in
    cc) echo gcc ;;
    c++) echo g++ ;;
    node) echo nodejs ;;
    h2load) echo nghttp2-client ;;
    certutil) echo libnss3-tools ;;
    taskset | setpriv) echo util-linux ;;
    varnishd) echo varnish ;;
    traffic_server) echo trafficserver ;;
    venv) echo python3-venv ;;
    *) echo "$1" ;;
  esac
}

present() {
  case $1 in
    venv) python3 -c 'import ensurepip, venv' 2>/dev/null ;;
    # Debian puts servers where an ordinary user's PATH does not look.
    *) PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null ;;
  esac
}

missing=()
for program in "$@"; do
  present "$program" || missing+=("$(package_of "$program")")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "need: missing here: ${missing[*]}. On Debian: sudo apt-get install ${missing[*]}" >&2
  exit 69
fi

echo "need: installing ${missing[*]}" >&2
log=$(mktemp)
policy=/usr/sbin/policy-rc.d
made_policy=
if [ ! -e $policy ]; then
  # A package's service must not start by itself and take a port.
  printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy && made_policy=$policy
fi
trap 'rm -f "$log" $made_policy' EXIT

for attempt in 1 2 3; do
  if { apt-get update -q && DEBIAN_FRONTEND=noninteractive \
       apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=300 "${missing[@]}"; } >"$log" 2>&1; then
    for program in "$@"; do
      present "$program" || { echo "need: $program is still missing after installing $(package_of "$program")" >&2; exit 69; }
    done
    exit 0
  fi
  sleep $((attempt * 3))
done
tail -20 "$log" >&2
echo "need: could not install ${missing[*]}; apt-get said the above" >&2
exit 69
