#!/bin/sh
# size.sh LIMIT FILE...: fails when a file is larger than LIMIT bytes.
set -eu
limit=$1
shift
status=0
for file; do
    size=$(stat -c %s "$file")
    if [ "$size" -gt "$limit" ]; then
        echo "too large: $file has $size bytes, the limit is $limit" >&2
        status=1
    else
        echo "ok: $file $size of $limit bytes"
    fi
done
exit $status
