#!/bin/bash
# Starts the sample LMS and the edge in front of it, says what to open, and ends both on Ctrl-C.
set -euo pipefail
# Each child leads a process group of its own, so that Ctrl-C reaches this script alone and it ends them in order.
set -m

bin=${TARGET:-target}/debug
http=8080 https=8443 lms_port=8081 control=9180   # as in config/dev.toml
lms='' edge=''

# Ends a child of ours: politely, and by force when it does not go or the user insists with a second Ctrl-C.
end() {
  local pid=$1 deadline=$((SECONDS + 20))
  kill -TERM "$pid" 2>/dev/null || return 0
  while kill -0 "$pid" 2>/dev/null; do
    if [ $SECONDS -ge $deadline ]; then kill -KILL "$pid" 2>/dev/null || true; fi
    sleep 0.02
  done
}

stop() {
  trap 'kill -KILL $edge $lms 2>/dev/null || true' INT
  trap - EXIT
  local status=$1 begun
  begun=$(date +%s%N)
  # The edge first: it may still be bringing answers from the LMS.
  [ -z "$edge" ] || end "$edge"
  [ -z "$lms" ] || end "$lms"
  echo "ended after $((($(date +%s%N) - begun) / 1000000)) ms"
  exit "$status"
}
trap 'stop 0' INT TERM HUP
trap 'stop $?' EXIT

for port in $http $https $lms_port $control; do
  if (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null; then
    echo "run: port $port is taken; who listens there is told by: ss -ltnp 'sport = :$port'" >&2
    trap - EXIT
    exit 69
  fi
done

mkdir -p run
[ -f certs/dev/development.crt ] || "$bin/lectern" certs certs/dev localhost 127.0.0.1
[ -f run/tokens ] || : >run/tokens

"$bin/loadtest" lms --listen 127.0.0.1:$lms_port >run/lms.log 2>&1 </dev/null &
lms=$!
"$bin/lectern" serve --config config/dev.toml >run/lectern.log 2>&1 </dev/null &
edge=$!

ready() {
  curl -fsS -o /dev/null "http://127.0.0.1:$lms_port/" && curl -fsS -o /dev/null "http://127.0.0.1:$control/readyz"
} 2>/dev/null
tries=0
until ready; do
  for child in "lectern $edge" "lms $lms"; do
    if ! kill -0 "${child#* }" 2>/dev/null; then
      echo "run: ${child% *} ended at once; run/${child% *}.log says:" >&2
      tail -20 "run/${child% *}.log" >&2
      exit 70
    fi
  done
  tries=$((tries + 1))
  [ $tries -lt 300 ] || { echo "run: not ready after 30 s; see run/lectern.log and run/lms.log" >&2; exit 70; }
  sleep 0.1
done

cat <<TEXT

Lectern stands in front of the sample LMS.

  open            http://localhost:$http/        https://localhost:$https/ (trust certs/dev/development-ca.pem)
  the LMS itself  http://localhost:$lms_port/        its control page: http://localhost:$lms_port/_control/
  metrics         http://localhost:$control/metrics
  logs            run/access.log  run/lectern.log  run/lms.log

From miss to hit:

  for i in 1 2; do curl -s -o /dev/null -D - http://localhost:$http/theme/site.css | grep -i cache-status; done

Ctrl-C ends both.
TEXT

# Whichever ends first, the other goes too.
wait -n "$edge" "$lms" || true
if kill -0 "$edge" 2>/dev/null; then echo "run: the sample LMS ended; see run/lms.log" >&2
else echo "run: the edge ended; see run/lectern.log" >&2; fi
exit 70
