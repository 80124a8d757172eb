#!/bin/bash
# Start one node: started as root by the container, ends as the server under the cassandra user.
#
# The configuration is mounted read-only and copied to where the image looks for it. So the container shows what its server
# runs with, a restart picks up what was rendered since, and no image's entrypoint rewrites the rendered files (official and
# own image run any command but `cassandra` as it is).
set -eu
source=/etc/placer/cassandra
conf=${CASSANDRA_CONF:-/etc/cassandra}
data=/var/lib/cassandra

cp "$source"/* "$conf"/
for folder in "$conf" "$data" "$data/commitlog" /var/log/cassandra; do
    mkdir -p "$folder"
    # Volumes are new, or were left by an image with another user: only then is there anything to do.
    [ "$(stat -c %u "$folder")" = 999 ] || chown -R 999:999 "$folder"
done

# A seed never takes over data when it joins. So a node that joined or joins a data centre in use is no seed to itself: also when it
# starts again, as a join that was interrupted goes on then.
if grep -q '^# joining' "$conf/first-start.options"; then
    own=$(sed -n 's/^broadcast_address: //p' "$conf/cassandra.yaml")
    sed -i -E "/- seeds:/{s/([\",])${own}(,|\")/\1\2/;s/,,/,/;s/\",/\"/;s/,\"/\"/}" "$conf/cassandra.yaml"
fi

# Cassandra's idle workers poll the queues: each sleeps for 10 us and looks again. The slack says how late a sleep may end.
if [ "${TIMER_SLACK_NS:-0}" != 0 ]; then
    echo "$TIMER_SLACK_NS" >/proc/self/timerslack_ns || echo "timer slack stays as it is: this kernel cannot set it" >&2
fi

exec setpriv --reuid=999 --regid=999 --clear-groups cassandra -f
