#!/bin/sh
# What the machine at hand cannot run itself:
#  1. the NEON set: compiled for 64-bit ARM; its tests run where qemu-aarch64 is installed;
#  2. the 512-bit set: its kernels from AVX2 instructions, all tests run (an x86-64 machine with AVX2).
# Needs CMake, Ninja, and aarch64-linux-gnu-g++ (Debian: g++-aarch64-linux-gnu) for the first.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
build=${1:-$root/build}

cmake -G Ninja -S "$root" -B "$build/aarch64" -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
    -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ -DGOSSAMER_TESTS=ON
cmake --build "$build/aarch64"
if command -v qemu-aarch64 >/dev/null; then
    qemu-aarch64 -L /usr/aarch64-linux-gnu "$build/aarch64/csrc/tests/test_core"
else
    echo "built; qemu-aarch64 is not installed, so the tests were not run"
fi

cmake -G Ninja -S "$root" -B "$build/emulated-avx512" -DGOSSAMER_EMULATE_AVX512=ON -DGOSSAMER_TESTS=ON \
    -DGOSSAMER_SETS="scalar;avx2;avx512" -DCMAKE_CXX_FLAGS_RELEASE="-O1"
cmake --build "$build/emulated-avx512"
"$build/emulated-avx512/csrc/tests/test_core"
