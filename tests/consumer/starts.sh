#!/usr/bin/env bash
# Installs into folders with several names, moves the tree, and starts the installed programs and those built with
# pkg-config, without LD_LIBRARY_PATH.
#   starts.sh CMAKE SOURCE FOLDER VERSION CMAKE-OPTIONS...
set -euo pipefail
cmake=$1 source=$2 folder=$3 version=$4
shift 4
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
unset LD_LIBRARY_PATH
rm -rf "$folder/trees"

one() { # BINDIR LIBDIR [absolute]
    local bindir=$1 libdir=$2 prefix=$folder/trees/installed expected
    "$cmake" -S "$source" -B "$folder/build" "${options[@]}" -DWSLINK_BUILD_EXAMPLES=OFF -DWSLINK_BUILD_CLI=ON \
        -DCMAKE_INSTALL_PREFIX=/usr/local -DCMAKE_INSTALL_BINDIR="$bindir" -DCMAKE_INSTALL_LIBDIR="$libdir" >/dev/null
    "$cmake" --build "$folder/build" >/dev/null
    "$cmake" --install "$folder/build" --prefix "$prefix" >/dev/null
    expected=$libdir
    if [[ $libdir != /* ]]; then
        expected="$folder/trees/moved to $(tr / - <<<"$bindir $libdir")"
        mv "$prefix" "$expected"
        prefix=$expected expected=$expected/$libdir
    fi
    "$prefix/$bindir/wslink-cli" --version | grep -F "$version"
    # It must use the library of this tree, not of the build tree.
    local found
    found=$(ldd "$prefix/$bindir/wslink-cli" | sed -n 's/.*libwslink[^ ]* => \(.*\) (0x.*/\1/p')
    if [ "$(realpath "$found")" != "$(realpath "$expected/libwslink.so")" ]; then
        echo "wslink-cli in $bindir takes the library from $found, not from $expected" >&2
        exit 1
    fi
    if [[ $libdir != /* ]]; then
        "$here/pkg-config.sh" C "$prefix" "$libdir" "$folder/trees"
    fi
}
options=("$@")
one bin lib
one bin lib/x86_64-linux-gnu
one libexec/wslink/bin lib64
one bin "$folder/trees/absolute/lib"
