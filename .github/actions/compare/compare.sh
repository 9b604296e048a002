#!/usr/bin/env bash
# slr-sweep compare within a job: its words on the job's page, its headline as an annotation, its answer as outputs.
# Takes BEFORE, AFTER and FAIL_ON (regression, nothing or never), and the files that the runner names.
set -uo pipefail

case "$FAIL_ON" in
  regression | nothing | never) ;;
  *) echo "::error::fail-on is '$FAIL_ON': give regression, nothing or never"; exit 2 ;;
esac

folder=$(mktemp -d "${RUNNER_TEMP:-/tmp}/compare.XXXXXX")
NO_COLOR=1 slr-sweep compare "$BEFORE" "$AFTER" --output "$folder/compare.json" >"$folder/out" 2>"$folder/err"
code=$?
cat "$folder/out"
cat "$folder/err" >&2

headline=$(sed -n 3p "$folder/out")
[ -n "$headline" ] || headline=$(tail -n 1 "$folder/err")
json=$folder/compare.json
[ -e "$json" ] || json=
{
  echo "code=$code"
  echo "headline=$headline"
  echo "json=$json"
} >>"$GITHUB_OUTPUT"
{
  echo "### Stability: $headline"
  echo
  # Indented, no text of theirs is taken for markup.
  sed 's/^/    /' "$folder/out" "$folder/err"
} >>"$GITHUB_STEP_SUMMARY"

fails=0
case $code in
  0) kind=notice ;;
  1) kind=error; [ "$FAIL_ON" = never ] || fails=1 ;;
  4) kind=warning; [ "$FAIL_ON" != nothing ] || fails=4 ;;
  *) kind=error; fails=$code ;;
esac
echo "::$kind title=Stability::${headline//%/%25}"
exit $fails
