# How the steps of scripts/test run: all are declared first, by `step`; `run_steps` then starts them in the order of their
# declaration, several at a time; `summary` tells how they ended. Sourced by scripts/test, which sets:
#
#   logs       the folder for the output of each step
#   at_once    how many steps run side by side
#   left_out   lines about what cannot run on this machine
# shellcheck shell=bash

step_names=()
# By name. A state is waiting, running, ok, FAILED or not-run; times are in seconds.
declare -A step_command step_after step_state step_seconds step_processor

# step NAME [after:STEP]... COMMAND [ARGUMENT]...
# Declares a step, which starts when the steps that it comes after have succeeded. A step that is not wanted this time
# counts as one that has.
step() {
    local name=$1 after=()
    shift
    while [[ $1 == after:* ]]; do
        after+=("${1#after:}")
        shift
    done
    step_names+=("$name")
    step_command[$name]=$(printf '%q ' "$@")
    step_after[$name]=${after[*]}
    step_seconds[$name]=0 step_processor[$name]=0
}

# keep_steps FUNCTION: of the steps, only those remain for whose name the function succeeds.
keep_steps() {
    local name kept=()
    for name in "${step_names[@]}"; do
        "$1" "$name" && kept+=("$name")
    done
    step_names=("${kept[@]}")
}

# The process of a step: its command, with the output in the log; at the end the times go to a file beside it.
run_command() { # NAME
    local TIMEFORMAT='%R %U %S'
    trap - INT # which bash lets background processes ignore
    { time eval "${step_command[$1]}" >"$logs/$1.log" 2>&1; } 2>"$logs/$1.time"
}

# 0 if the step may start, 1 if it has to wait, 2 if it never will because a step before it failed.
may_start() { # NAME
    local before
    for before in ${step_after[$1]}; do
        case ${step_state[$before]-ok} in
        ok) ;;
        FAILED | not-run) return 2 ;;
        *) return 1 ;;
        esac
    done
}

say_step() { # NAME
    printf '%-34s %-7s %5.0f s %5.0f s\n' "$1" "${step_state[$1]}" "${step_seconds[$1]}" "${step_processor[$1]}"
}

end_step() { # NAME STATUS
    local real user system
    read -r real user system < <(tail -n 1 "$logs/$1.time")
    rm "$logs/$1.time"
    step_seconds[$1]=$real
    step_processor[$1]=$(awk -v u="$user" -v s="$system" 'BEGIN { print u + s }')
    step_state[$1]=ok
    [ "$2" -eq 0 ] || step_state[$1]=FAILED
    say_step "$1"
    [ "$2" -eq 0 ] || sed 's/^/    | /' "$logs/$1.log"
}

run_steps() {
    local name process running=0 skipped
    declare -A step_of
    for name in "${step_names[@]}"; do
        step_state[$name]=waiting
    done
    printf '%-34s %-7s %7s %7s\n' step result time 'processor'
    while :; do
        skipped=
        for name in "${step_names[@]}"; do
            [ "$running" -lt "$at_once" ] || break
            [ "${step_state[$name]}" = waiting ] || continue
            may_start "$name"
            case $? in
            0)
                run_command "$name" </dev/null &
                step_of[$!]=$name
                step_state[$name]=running
                running=$((running + 1))
                ;;
            2)
                step_state[$name]=not-run
                say_step "$name"
                skipped=yes # and others perhaps with it, which were looked at before
                ;;
            esac
        done
        [ -z "$skipped" ] || continue
        [ "$running" -gt 0 ] || break
        wait -n -p process "${!step_of[@]}"
        end_step "${step_of[$process]}" $?
        unset "step_of[$process]"
        running=$((running - 1))
    done
    # Steps that wait for each other would wait for ever.
    for name in "${step_names[@]}"; do
        [ "${step_state[$name]}" != waiting ] || step_state[$name]=not-run
    done
}

# Prints the times, the longest first, and what failed. Fails if a step did not succeed.
summary() {
    local name passed=0 failed=0 total=0
    printf '\nThe longest first:\n\n'
    for name in "${step_names[@]}"; do
        echo "${step_seconds[$name]} $name"
    done | sort -rn | while read -r _ name; do
        say_step "$name"
    done
    total=$(printf '%s\n' "${step_processor[@]}" | awk '{ sum += $1 } END { printf "%.0f", sum }')
    printf '\ntook %d s, and %d s of processor time; logs are in target/test-logs\n' "$SECONDS" "$total"
    for name in "${step_names[@]}"; do
        case ${step_state[$name]} in
        ok) passed=$((passed + 1)) ;;
        FAILED)
            failed=$((failed + 1))
            echo "failed: $name (target/test-logs/$name.log)"
            ;;
        *)
            failed=$((failed + 1))
            echo "not run: $name (comes after: ${step_after[$name]})"
            ;;
        esac
    done
    for name in "${left_out[@]}"; do
        echo "left out: $name"
    done
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
}
