#!/usr/bin/env bash
# Builds the packages, checks their content, installs the .deb files, unpacks the archives, and builds and runs the
# consumers with them.
#   packages.sh CPACK BUILD-FOLDER FOLDER VERSION ABI
set -euo pipefail
cpack=$1 build=$2 folder=$3 version=$4 abi=$5
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

rm -rf "$folder"
mkdir -p "$folder"
(cd "$build" && "$cpack" -G "TGZ;DEB" -B "$folder")

one() { # the only file that matches the pattern
    local found=("$folder"/$1)
    [ ${#found[@]} -eq 1 ] && [ -f "${found[0]}" ] || { echo "no single $1 in: $(ls "$folder")" >&2; exit 1; }
    echo "${found[0]}"
}
contains() { # LIST PATTERN...
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
contains "$list" "rw-r--r-- .*libwslink.so.$version" "doc/libwslink$abi/copyright"
list=$(dpkg-deb -c "$dev")
contains "$list" "include/wslink.h" "include/wslink.hpp" "wslink-config.cmake" "wslink.pc" "libwslink.so ->"
contains "$(dpkg-deb -f "$runtime" Depends)" "libc6" "libssl3"
contains "$(dpkg-deb -f "$dev" Depends)" "libwslink$abi (= $version)"
contains "$(tar -tzf "$(one "wslink-$version-*-runtime.tar.gz")")" "lib/.*libwslink.so.$version"
contains "$(tar -tzf "$(one "wslink-$version-*-dev.tar.gz")")" "include/wslink.h"

# dpkg installs into a separate root, because a test must not change the machine. The root has the machine's list of
# packages, so that dependencies are really checked.
dpkg_root=$folder/root
mkdir -p "$dpkg_root"/var/lib/dpkg/{info,updates,triggers}
cp /var/lib/dpkg/status "$dpkg_root/var/lib/dpkg/status"
# Maintainer scripts run outside of the root. A substitute for ldconfig keeps them from changing the machine.
mkdir "$folder/bin"
ln -s "$(command -v true)" "$folder/bin/ldconfig"
in_root() {
    # The root lacks the packages' lists of files, so dpkg warns for each package.
    PATH=$folder/bin:$PATH dpkg --root="$dpkg_root" --log="$folder/dpkg.log" --force-not-root --force-script-chrootless \
        "$@" 2> >(grep -v 'files list file' >&2)
}
if in_root --install "$dev"; then
    echo "the dev package was installed without the library that it depends on" >&2
    exit 1
fi
in_root --install "$runtime" "$dev"
# The declared dependencies match the linked libraries, and a package that links to this library depends on this package.
(
    mkdir -p "$folder/shlibs/debian" && cd "$folder/shlibs"
    printf 'Source: wslink\n\nPackage: libwslink%s\nArchitecture: any\n' "$abi" >debian/control
    dpkg-shlibdeps -O --ignore-missing-info "$(find "$dpkg_root/usr" -name "libwslink.so.$version")" >needed
    needed=$(sed -n 's/^shlibs:Depends=//p' needed)
    contains "$(dpkg-deb -f "$runtime" Depends)" "$needed"
)
contains "$(dpkg-deb -I "$runtime" shlibs)" "libwslink $abi libwslink$abi (>= $version)"
contains "$(dpkg-deb -I "$runtime" triggers)" "ldconfig"
lacks "$(readelf -S --wide "$(find "$dpkg_root/usr" -name "libwslink.so.$version")")" "\.symtab"

consumers() { # NAME PREFIX
    for language in C CXX; do
        cmake -G Ninja -S "$here/project" -B "$folder/$1-$language" -DHOW=find_package -DLANGUAGE=$language \
            -DCMAKE_PREFIX_PATH="$2" >/dev/null
        cmake --build "$folder/$1-$language" >/dev/null
        "$folder/$1-$language/app"
    done
}
consumers deb "$dpkg_root/usr"

in_root --purge libwslink-dev "libwslink$abi"
if find "$dpkg_root/usr" -name '*wslink*' 2>/dev/null | grep .; then
    echo "left behind by the packages" >&2
    exit 1
fi

# The archives work wherever they are unpacked.
mkdir -p "$folder/some where"
for component in runtime dev; do
    tar -xzf "$(one "wslink-$version-*-$component.tar.gz")" -C "$folder/some where" --strip-components=1
done
consumers tgz "$(dirname "$(find "$folder/some where" -name include -type d)")"
