#!/usr/bin/env bash
# Installs into an empty folder and uninstalls: no file of wslink may be left.
#   uninstall.sh CMAKE BUILD-FOLDER PREFIX
set -euo pipefail
cmake=$1 build=$2 prefix=$3

rm -rf "$prefix"
"$cmake" --install "$build" --prefix "$prefix" >/dev/null
touch "$prefix/include/of-someone-else.h"
"$cmake" --build "$build" --target uninstall
left=$(find "$prefix" ! -type d)
if [ "$left" != "$prefix/include/of-someone-else.h" ]; then
    echo "left behind, or removed too much: $left" >&2
    exit 1
fi
if find "$prefix" -type d -name wslink | grep .; then
    echo "a folder of wslink is left" >&2
    exit 1
fi
