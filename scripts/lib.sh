# SPDX-License-Identifier: Apache-2.0
# What the scripts share; sourced by bash with the working directory at the top of the source tree.

step() { printf '\n==> %s\n' "$*"; }
fail() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# Compiler processes at once: one a core, but not more than one per 1.5 GiB of memory, which the largest files take.
build_jobs() {
  local cores memory_kib
  cores=$(nproc)
  memory_kib=$(awk '/^MemTotal/ { print $2 }' /proc/meminfo)
  local by_memory=$((memory_kib / 1572864))
  if ((by_memory < 1)); then by_memory=1; fi
  echo $((cores < by_memory ? cores : by_memory))
}

# configure_and_build PRESET [TARGET]...: everything without targets.
configure_and_build() {
  local preset=$1
  shift
  step "Configuring build/$preset"
  cmake --preset "$preset" >"build-$preset.log" 2>&1 || {
    cat "build-$preset.log" >&2
    rm -f "build-$preset.log"
    fail "configuring failed; the messages are above"
  }
  rm -f "build-$preset.log"
  step "Building build/$preset with $(build_jobs) jobs"
  local targets=()
  if (($# > 0)); then targets=(--target "$@"); fi
  cmake --build --preset "$preset" -j "$(build_jobs)" "${targets[@]}" || fail "building failed"
}
