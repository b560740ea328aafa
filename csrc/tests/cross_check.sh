#!/bin/sh
# Compiles the core for 64-bit ARM, to see that the NEON set builds where no ARM machine is at hand; runs the tests too
# where qemu-aarch64 is installed. Needs aarch64-linux-gnu-g++ (Debian: g++-aarch64-linux-gnu), CMake and Ninja.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
build=${1:-$root/build/aarch64}
cmake -G Ninja -S "$root" -B "$build" -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
    -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ -DGOSSAMER_TESTS=ON
cmake --build "$build"
if command -v qemu-aarch64 >/dev/null; then
    qemu-aarch64 -L /usr/aarch64-linux-gnu "$build/csrc/tests/test_core"
else
    echo "built; qemu-aarch64 is not installed, so the tests were not run"
fi
