#!/bin/sh
# Stop the dockerd that start-dockerd.sh started, and take back what it did to the machine's network.
#
#   stop-dockerd.sh MARK TIMEOUT_S
#
# An engine leaves its bridge, its chains and the policy of FORWARD behind when it stops. As it was not there before us, neither
# are they afterwards; an engine that starts later makes them anew.
set -eu
mark=$1 timeout_s=$2

pid=$(sed -n 1p "$mark")
policy=$(sed -n 2p "$mark")
if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ]; then
    kill -TERM "$pid"
    waited_s=0
    while kill -0 "$pid" 2>/dev/null; do
        if [ "$waited_s" -ge "$timeout_s" ]; then
            echo "dockerd (process $pid) did not stop within ${timeout_s} s" >&2
            exit 1
        fi
        sleep 1
        waited_s=$((waited_s + 1))
    done

    if command -v iptables-save >/dev/null 2>&1; then
        # The policy is that of the table filter: mangle has a chain of this name too, which no engine touches.
        iptables-save | sed '/[dD][oO][cC][kK][eE][rR]/d' |
            sed "/^\*filter/,/^COMMIT/s/^:FORWARD [A-Z]* /:FORWARD ${policy:-ACCEPT} /" | iptables-restore
    fi
    if [ -d /sys/class/net/docker0 ]; then
        ip link delete docker0
    fi
fi
rm -f "$mark"
