#!/bin/sh
# Start dockerd by hand, where no service manager does, and wait until it answers.
#
#   start-dockerd.sh MARK LOG TIMEOUT_S
#
# MARK   file that says "this daemon was started here": its process id and the policy of FORWARD before, for stop-dockerd.sh
# LOG    where the daemon writes
#
# Debian's init script is no use here: it stops where the hard limit of open files cannot be raised. A daemon that was
# killed leaves process id files behind; when a number has been given to another process meanwhile, the next daemon
# refuses to start. So each such file is removed unless its process really is the one it names. What a killed daemon's
# containers left in the firewall or in the network is put right by the daemon itself when it starts.
set -eu
mark=$1 log=$2 timeout_s=$3

stale() { # stale FILE NAME: true if FILE does not name a running process called NAME
    pid=$(cat "$1" 2>/dev/null) || return 1
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != "$2" ]
}
stale /var/run/docker.pid dockerd && rm -f /var/run/docker.pid
stale /var/run/docker/containerd/containerd.pid containerd &&
    rm -f /var/run/docker/containerd/containerd.pid /var/run/docker/containerd/containerd.sock \
        /var/run/docker/containerd/containerd.sock.ttrpc

# As many open files as we may have; the limits of containers are set one by one.
# shellcheck disable=SC3045 # dash and bash both have -n and -H
# shellcheck disable=SC3045 # not in POSIX, but in every shell that is /bin/sh on Linux
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
mkdir -p "$(dirname "$mark")" "$(dirname "$log")"

# What FORWARD does with other packets now; the daemon sets it to DROP.
policy=$(iptables -S FORWARD 2>/dev/null | sed -n 's/^-P FORWARD //p')

setsid nohup dockerd >"$log" 2>&1 </dev/null &
pid=$!
printf '%s\n%s\n' "$pid" "$policy" >"$mark"

# The socket is there before the daemon answers on it; whoever asks first waits for the answer.
waited_s=0
while ! [ -S /var/run/docker.sock ] || ! grep -q "API listen on" "$log"; do
    if ! kill -0 "$pid" 2>/dev/null || [ "$waited_s" -ge "$timeout_s" ]; then
        echo "dockerd did not answer within ${timeout_s} s; the end of $log:" >&2
        tail -n 20 "$log" >&2
        rm -f "$mark"
        exit 1
    fi
    sleep 1
    waited_s=$((waited_s + 1))
done
