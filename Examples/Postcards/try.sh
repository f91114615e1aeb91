#!/bin/sh
# Builds the example, kills it in the middle of a step with SIGKILL, resumes it, and checks what came out.
# Arguments go to `swift build`. Exits with 0 only if everything was as it should be.
set -eu
cd "$(dirname "$0")"

swift build "$@"
postcards="$(swift build "$@" --show-bin-path)/postcards"
home=$(mktemp -d)
pid=""
cleanup() {
    [ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null || true
    rm -rf "$home"
}
trap cleanup EXIT
export POSTCARDS_HOME="$home" POSTCARDS_PACE=300

fail() {
    echo "try.sh: $1" >&2
    for file in first second; do
        [ ! -f "$home/$file" ] || { echo "--- $file process" >&2; cat "$home/$file" >&2; }
    done
    exit 1
}
expect() { [ "$2" = "$3" ] || fail "$1: expected '$2', got '$3'"; }

echo "--- start, and kill -9 in the middle of a step"
"$postcards" start Ada Grace Edsger Barbara Tony Leslie Donald Alan >"$home/first" 2>&1 &
pid=$!
tries=0
until grep -q "printed card 5 of 8" "$home/first"; do
    tries=$((tries + 1))
    [ "$tries" -lt 600 ] || fail "card 5 was not printed within a minute"
    kill -0 "$pid" 2>/dev/null || fail "the first process ended by itself"
    sleep 0.1
done
kill -KILL "$pid"
status=0
wait "$pid" || status=$?
pid=""
expect "exit code of the killed process" 137 "$status"
cat "$home/first"

echo "--- ls"
"$postcards" ls | tee "$home/ls"
id=$(cut -d' ' -f1 "$home/ls")
expect "the run after the kill" "$id  interrupted  epoch 1" "$(cat "$home/ls")"
expect "scratch directories after the kill" 1 "$(ls "$home/workshop" | wc -l)"

echo "--- resume"
status=0
"$postcards" resume "$id" >"$home/second" 2>&1 || status=$?
cat "$home/second"
expect "exit code of resume" 0 "$status"

echo "--- check"
printf 'Hello %s!\n' Ada Grace Edsger Barbara Tony Leslie Donald Alan >"$home/expected"
cmp "$home/expected" "$home/mailbox/$id.txt" || fail "the mailed cards are not the expected ones"
expect "mailed letters" 1 "$(ls "$home/mailbox" | wc -l)"
expect "first card written by the second attempt" 1 "$(grep -c 'wrote to Ada, attempt 2' "$home/first")"
expect "texts written again" 0 "$(grep -c 'wrote to' "$home/second" || true)"
expect "scratch directories made again" 0 "$(grep -c 'made scratch' "$home/second" || true)"
expect "first card printed again" 0 "$(grep -c 'printed card 1 of' "$home/second" || true)"
expect "last card printed by the second attempt" 1 "$(grep -c 'printed card 8 of 8, attempt 2' "$home/second")"
expect "scratch directories at the end" 0 "$(ls "$home/workshop" | wc -l)"
expect "the run at the end" "$id  succeeded  epoch 2" "$("$postcards" ls)"
if "$postcards" resume "$id" >"$home/third" 2>&1; then fail "a finished run was resumed"; fi
grep -q "has already ended" "$home/third" || fail "resuming a finished run says: $(cat "$home/third")"
echo "try.sh: all as it should be"
