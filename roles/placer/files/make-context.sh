#!/bin/sh
# Make the build context of the services' image on the controller:
#
#   make-context.sh CONTEXT WHEELHOUSE LOCK SOURCE PYTHON VERSION ARCH [PLUGIN...]
#
# CONTEXT     folder that is made anew: Dockerfile, wheels/ (the locked dependencies), package/ (our own wheel and those of the
#             plug-ins), installer/ (pip)
# WHEELHOUSE  where the wheels of LOCK are kept from one time to the next; fetched when they are not there
# LOCK        requirements with versions and hashes
# SOURCE      folder of the package
# PYTHON      interpreter whose pip is used, with hatchling beside it; VERSION and ARCH are those of the image
# PLUGIN      wheel, or folder of a package that hatchling builds
set -eu
context=$1 wheelhouse=$2 lock=$3 source=$4 python=$5 version=$6 arch=$7
shift 7
pip="$python -m pip --disable-pip-version-check --quiet"
here=$(dirname "$0")

if ! [ -d "$wheelhouse" ]; then
    rm -rf "$wheelhouse.part"
    platforms=
    for glibc in 2_36 2_34 2_31 2_28 2_17; do
        platforms="$platforms --platform manylinux_${glibc}_$arch"
    done
    # shellcheck disable=SC2086 # lists of words
    $pip download --require-hashes --requirement "$lock" --dest "$wheelhouse.part" --no-deps --only-binary=:all: \
        --implementation cp --python-version "$version" $platforms --platform "manylinux2014_$arch"
    mv "$wheelhouse.part" "$wheelhouse"
fi

rm -rf "$context"
mkdir -p "$context/package" "$context/installer"
cp -r "$wheelhouse" "$context/wheels"
cp "$here/image/Dockerfile" "$context/Dockerfile"
# The pip that fetched the wheels also installs them: it is pinned, and the image needs none of Debian's.
cp -r "$("$python" -c 'import os, pip; print(os.path.dirname(pip.__file__))')" "$context/installer/pip"
find "$context/installer" -name __pycache__ -prune -exec rm -rf {} +

# Built with what the controller has: nothing more is fetched. The work happens in a copy, the source stays clean.
build() {
    cp -r "$1" "$context/source"
    # shellcheck disable=SC2086
    $pip wheel --no-deps --no-build-isolation --wheel-dir "$context/package" "$context/source" || return
    rm -rf "$context/source"
}

build "$source"
for plugin; do
    case $plugin in
    *.whl) cp "$plugin" "$context/package" ;;
    *)
        build "$plugin" || {
            echo "The plug-in $plugin could not be built with hatchling. Build its wheel yourself, and name that in placer_plugins." >&2
            exit 1
        }
        ;;
    esac
done
