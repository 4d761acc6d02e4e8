#!/usr/bin/env bash
# Makes the packages, checks what is in them, and builds and runs the consumers with what the .deb files bring.
#   packages.sh CPACK BUILD-FOLDER FOLDER VERSION ABI
set -euo pipefail
cpack=$1 build=$2 folder=$3 version=$4 abi=$5
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

rm -rf "$folder"
mkdir -p "$folder/root"
(cd "$build" && "$cpack" -G "TGZ;DEB" -B "$folder")

one() { # the only file that fits the pattern
    local found=("$folder"/$1)
    [ ${#found[@]} -eq 1 ] && [ -f "${found[0]}" ] || { echo "no single $1 in: $(ls "$folder")" >&2; exit 1; }
    echo "${found[0]}"
}
contains() { # list, then what must be in it
    local list=$1 name
    shift
    for name in "$@"; do
        grep -q -- "$name" <<<"$list" || { printf 'missing: %s in\n%s\n' "$name" "$list" >&2; exit 1; }
    done
}
lacks() {
    ! grep -- "$2" <<<"$1" || { echo "should not be in the package: $2" >&2; exit 1; }
}

runtime=$(one "libwslink${abi}_${version}*.deb")
dev=$(one "libwslink-dev_${version}*.deb")
list=$(dpkg-deb -c "$runtime")
contains "$list" "libwslink.so.$version" "libwslink.so.$abi "
lacks "$list" "\.h$"
lacks "$list" "libwslink.so ->"
list=$(dpkg-deb -c "$dev")
contains "$list" "include/wslink.h" "include/wslink.hpp" "wslink-config.cmake" "wslink.pc" "libwslink.so ->"
contains "$(dpkg-deb -f "$runtime" Depends)" "libc6" "libssl3"
contains "$(dpkg-deb -f "$dev" Depends)" "libwslink$abi (= $version)"
contains "$(tar -tzf "$(one "wslink-$version-*-runtime.tar.gz")")" "lib/.*libwslink.so.$version"
contains "$(tar -tzf "$(one "wslink-$version-*-dev.tar.gz")")" "include/wslink.h"

# Unpacked and not installed: a test must not change the machine.
dpkg-deb -x "$runtime" "$folder/root"
dpkg-deb -x "$dev" "$folder/root"
for language in C CXX; do
    cmake -G Ninja -S "$here/project" -B "$folder/app-$language" -DHOW=find_package -DLANGUAGE=$language \
        -DCMAKE_PREFIX_PATH="$folder/root/usr" >/dev/null
    cmake --build "$folder/app-$language" >/dev/null
    "$folder/app-$language/app"
done
