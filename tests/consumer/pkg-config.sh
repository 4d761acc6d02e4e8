#!/usr/bin/env bash
# Builds and runs the consumer with pkg-config only, as in the README.
#   pkg-config.sh C|CXX PREFIX LIBDIR FOLDER
set -euo pipefail
language=$1 prefix=$2 libdir=$3 folder=$4
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

export PKG_CONFIG_PATH=$prefix/$libdir/pkgconfig
case $language in
C) compiler=(${CC:-cc} -std=c99) source=$here/project/main.c ;;
CXX) compiler=(${CXX:-c++} -std=c++17) source=$here/project/main.cpp ;;
esac
# The output is shell text: a blank in the prefix is escaped as "\ ".
eval "flags=($(pkg-config --cflags --libs wslink) -Wl,-rpath,$(pkg-config --variable=libdir wslink))"
app=$folder/pkg-config-$language
"${compiler[@]}" -o "$app" "$source" "${flags[@]}"
env -u LD_LIBRARY_PATH "$app"
pkg-config --print-errors --exact-version="$(pkg-config --modversion wslink)" wslink
