#!/bin/bash
# The official image's entrypoint contract: started as root it hands its folders to the cassandra user and drops to it;
# for the command `cassandra` it writes the CASSANDRA_* variables into the configuration. Any other command runs as is.
set -e

if [ "${1:0:1}" = '-' ]; then
    set -- cassandra -f "$@"
fi

if [ "$1" = 'cassandra' ] && [ "$(id -u)" = '0' ]; then
    find "$CASSANDRA_CONF" /var/lib/cassandra /var/log/cassandra \! -user cassandra -exec chown cassandra '{}' +
    exec setpriv --reuid=cassandra --regid=cassandra --init-groups "${BASH_SOURCE[0]}" "$@"
fi

# A mounted file cannot be replaced, only rewritten: so not `sed --in-place`.
edit() {
    local file=$1 copy
    shift
    copy=$(mktemp)
    sed -r "$@" "$file" >"$copy"
    cat "$copy" >"$file"
    rm "$copy"
}

if [ "$1" = 'cassandra' ]; then
    : "${CASSANDRA_RPC_ADDRESS=0.0.0.0}"
    : "${CASSANDRA_LISTEN_ADDRESS=auto}"
    if [ "$CASSANDRA_LISTEN_ADDRESS" = 'auto' ]; then
        CASSANDRA_LISTEN_ADDRESS=$(hostname -I | cut -d ' ' -f 1)
    fi
    : "${CASSANDRA_BROADCAST_ADDRESS=$CASSANDRA_LISTEN_ADDRESS}"
    if [ "$CASSANDRA_BROADCAST_ADDRESS" = 'auto' ]; then
        CASSANDRA_BROADCAST_ADDRESS=$(hostname -I | cut -d ' ' -f 1)
    fi
    : "${CASSANDRA_BROADCAST_RPC_ADDRESS:=$CASSANDRA_BROADCAST_ADDRESS}"
    if [ -n "${CASSANDRA_NAME:+1}" ]; then
        : "${CASSANDRA_SEEDS:=cassandra}"
    fi
    : "${CASSANDRA_SEEDS:=$CASSANDRA_BROADCAST_ADDRESS}"

    edit "$CASSANDRA_CONF/cassandra.yaml" 's/(- seeds:).*/\1 "'"$CASSANDRA_SEEDS"'"/'
    for key in broadcast_address broadcast_rpc_address cluster_name endpoint_snitch listen_address num_tokens rpc_address; do
        variable="CASSANDRA_${key^^}"
        if [ -n "${!variable}" ]; then
            edit "$CASSANDRA_CONF/cassandra.yaml" 's/^(# )?('"$key"':).*/\2 '"${!variable}"'/'
        fi
    done
    for key in dc rack; do
        variable="CASSANDRA_${key^^}"
        if [ -n "${!variable}" ]; then
            edit "$CASSANDRA_CONF/cassandra-rackdc.properties" 's/^('"$key"'=).*/\1'"${!variable}"'/'
        fi
    done
fi

exec "$@"
