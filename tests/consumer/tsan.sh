#!/usr/bin/env bash
# Builds a program with ThreadSanitizer and the installed library, which is built without it, and runs it with both
# servers. With the installed suppressions, only a race of the program itself is reported.
#   tsan.sh C++-COMPILER PREFIX LIBDIR DATADIR FOLDER
set -euo pipefail
compiler=$1 prefix=$2 libdir=$3 datadir=$4 folder=$5
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
app=$folder/tsan-app

"$compiler" -std=c++17 -g -O1 -fsanitize=thread -o "$app" "$here/project/tsan.cpp" -I "$prefix/include" \
    -L "$prefix/$libdir" -lwslink "-Wl,-rpath,$prefix/$libdir"
# TSAN_OPTIONS cannot have a path with blanks, such as that of the test.
cp "$prefix/$datadir/wslink/tsan.supp" "$folder/tsan.supp"
export TSAN_OPTIONS="suppressions=$folder/tsan.supp exitcode=66"

run() { # STATUS ARGUMENTS...
    local expected=$1 status=0
    shift
    "$app" "$@" >"$folder/tsan.log" 2>&1 || status=$?
    if [ $status -ne "$expected" ]; then
        cat "$folder/tsan.log"
        echo "tsan-app $* ended with status $status, not $expected" >&2
        exit 1
    fi
}
for url in "$WSLINK_TEST_URL_V1" "$WSLINK_TEST_URL_V2"; do
    run 0 "$url"
    ! grep "WARNING: ThreadSanitizer" "$folder/tsan.log"
done
run 66 "$WSLINK_TEST_URL_V2" race
[ "$(grep -c "WARNING: ThreadSanitizer: data race" "$folder/tsan.log")" -eq 1 ]
grep "tsan.cpp:" "$folder/tsan.log" >/dev/null
echo "nothing but the race of the program is reported"
