# shellcheck shell=sh
# Shared by ../demo and ../test: finds a Python and keeps a virtual environment equal to a lock file. To be sourced.
# The caller defines `say` (progress) and `die` (message, remedy, end).

# Sets $python to the first Python >= 3.11 that really starts (a version manager's shim may not). An active virtual environment
# stands for the Python that it was made from. The distribution's comes before any other: it is built with profile-guided optimisation,
# as a version manager's seldom is, and Ansible starts a Python for each task (a quarter more work with one that was built without).
find_python() {
    for python in ${VIRTUAL_ENV:+"$VIRTUAL_ENV/bin/python"} \
        /usr/bin/python3.11 /usr/bin/python3.12 /usr/bin/python3.13 python3.11 python3.12 python3.13 python3 /usr/bin/python3; do
        python=$(command -v "$python") || continue
        python=$("$python" -c 'import sys; sys.version_info >= (3, 11) and print(sys._base_executable)' 2>/dev/null) || continue
        [ -n "$python" ] && return
    done
    die "Python 3.11 or newer is needed, and none was found ($(python3 --version 2>&1 || echo 'no python3'))." \
        "Debian 12, Ubuntu 24.04 and later bring one: apt-get install python3. On Ubuntu 22.04: apt-get install python3.11."
}

# A virtual environment in $1, with or without its own pip. Debian keeps ensurepip in a package of its own.
new_venv() {
    rm -rf "$1"
    if "$python" -c 'import ensurepip' >/dev/null 2>&1; then
        "$python" -m venv "$1"
        return
    fi
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        say "installing Debian's python$version-venv, which Python needs to make a virtual environment"
        { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "python$version-venv"; } ||
            true
        "$python" -m venv "$1" && return
        rm -rf "$1"
    fi
    # Without ensurepip: an empty environment, filled by a pip from outside it (`pip --python`).
    "$python" -m venv --without-pip "$1"
}

# Installs lock file $2 into $1; the environment's own pip, else the system's, else uv.
fill_venv() {
    if "$1/bin/python" -c 'import pip' >/dev/null 2>&1; then
        "$1/bin/python" -m pip install --no-compile --require-hashes --requirement "$2"
    elif "$python" -c 'import pip' >/dev/null 2>&1; then
        "$python" -m pip --python "$1/bin/python" install --no-compile --require-hashes --requirement "$2"
    elif command -v uv >/dev/null 2>&1; then
        uv pip install --python "$1/bin/python" --require-hashes --requirement "$2"
    else
        echo "no module named ensurepip or pip"
        return 1
    fi
}

# Makes $1 hold exactly lock file $2; does nothing when it already does. Half-made environments are made anew.
ensure_venv() {
    wanted="$(cksum <"$2") $python"
    mkdir -p "$(dirname "$1")"
    exec 8>"$1.lock"
    flock 8
    make_venv "$@"
    exec 8>&-
}

make_venv() {
    if [ "$(cat "$1/.made-from" 2>/dev/null)" = "$wanted" ] && "$1/bin/python" -c '' 2>/dev/null; then
        return
    fi
    say "making the virtual environment ${1#"$root/"} from ${2#"$root/"} (once, about 20 s)"
    if ! { new_venv "$1" && fill_venv "$1" "$2"; } >"$1.log" 2>&1 </dev/null; then
        tail -n 5 "$1.log" >&2
        die "The virtual environment could not be made; the whole output is in ${1#"$root/"}.log." \
            "A package index has to be reachable (pip's own settings and proxies count), and Debian needs python3-venv: apt-get install python3-venv."
    fi
    echo "$wanted" >"$1/.made-from"
}
