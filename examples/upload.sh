#!/bin/sh
# Send one section image to a running Angiometry service; the measurements come back as CSV.
#
#   examples/upload.sh section.tif CD31 [0.5] > measurements.csv
#
# The third argument is the pixel size in µm, needed only where the file does not state it.
# SERVICE_URL says where the service runs, if not on this machine's port 8000. Needs curl.
set -eu

if [ "$#" -lt 2 ]; then
    echo "usage: $0 IMAGE CD31|VEGF|CD31+VEGF [UM_PER_PX]" >&2
    exit 2
fi
url=${SERVICE_URL:-http://127.0.0.1:8000}
answer=$(mktemp)
headers=$(mktemp)
trap 'rm -f "$answer" "$headers"' EXIT

# "; would end curl's file name, and " begin another: both are quoted by curl's own rule.
file=$(printf '%s' "$1" | sed 's/[\\"]/\\&/g')
status=$(curl --silent --show-error --output "$answer" --dump-header "$headers" \
    --write-out '%{http_code}' \
    --form "image=@\"$file\"" --form-string "marker=$2" --form-string "mpp_um=${3:-}" \
    "$url/v1/analyses")
if [ "$status" != 200 ]; then
    cat "$answer" >&2
    echo >&2
    exit 1
fi

# The answer is the whole record as JSON, and its address is in a header: the same address gives
# the table as CSV.
address=$(sed -n 's/^[Cc]ontent-[Ll]ocation: *\(.*\)/\1/p' "$headers" | tr -d '\r')
curl --silent --show-error --fail --header 'Accept: text/csv' "$url$address"
