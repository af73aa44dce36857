#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# fio_bench.sh FILE [GiB]: cold rows of tier_file against fio on the same disk, in turns: 4 KiB random reads with
# O_DIRECT over io_uring at tier_file's depth of 32. Prints fio's IOPS and the time it takes for 1,024 reads, then what
# tier_file_bench prints for batches of 1,024 rows (of which nearly every one costs a page). Needs Debian's package fio.
set -eu
file=${1:?usage: fio_bench.sh FILE [GiB]}
gib=${2:-8}
build=${BUILD:-$(dirname "$0")/../build/release}
for round in 1 2 3; do
  echo "round $round, load $(cut -d' ' -f1 /proc/loadavg)"
  fio --name=cold --filename="$file.fio" --size="${gib}G" --rw=randread --bs=4k --direct=1 --ioengine=io_uring \
    --iodepth=32 --time_based --runtime=10 --output-format=terse --terse-version=3 |
    awk -F';' '{printf "fio: %d reads/s, 1024 reads in %.2f ms\n", $8, 1024000 / $8}'
  "$build/bin/tier_file_bench" "$file" "$gib" | grep '^cold: *io_uring'
done
rm -f "$file.fio"
