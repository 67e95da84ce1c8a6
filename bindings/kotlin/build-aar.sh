#!/usr/bin/env bash
# Builds the AAR: the library for four ABIs, aligned to pages of 16 KiB, and the Android project around it.
# Needs the NDK (ANDROID_NDK_HOME), cargo-ndk, the four targets of Rust, and Gradle with the Android SDK (ANDROID_HOME).
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
. "$root/bindings/mobile.sh"

fail() {
    echo "build-aar: $*" >&2
    exit 1
}
[ -d "${ANDROID_NDK_HOME:-}" ] || fail "ANDROID_NDK_HOME names no NDK; install one (sdkmanager 'ndk;28.2.13676358') and set it"
cargo ndk --version >/dev/null 2>&1 || fail "no cargo-ndk: cargo install cargo-ndk --locked"
# Android's name of each ABI, and Rust's.
abis="arm64-v8a:aarch64-linux-android armeabi-v7a:armv7-linux-androideabi x86_64:x86_64-linux-android x86:i686-linux-android"
for abi in $abis; do
    [ -d "$(rustc --print sysroot)/lib/rustlib/${abi#*:}" ] || fail "no Rust for ${abi#*:}: rustup target add ${abi#*:}"
done
gradle=./gradlew
[ -x "$gradle" ] || gradle=gradle
command -v "$gradle" >/dev/null || fail "no Gradle: install it"
[ -d "${ANDROID_HOME:-}" ] || fail "ANDROID_HOME names no Android SDK"
readelf=$(echo "$ANDROID_NDK_HOME"/toolchains/llvm/prebuilt/*/bin/llvm-readelf)

rm -rf src/main/jniLibs
for pair in $abis; do
    abi=${pair%:*} target=${pair#*:}
    # Packed relocations are read since Android 6; pages of 16 KiB are those of devices since Android 15.
    (cd "$root" && cargo ndk --platform 26 --target "$abi" -- rustc --locked -p vigie-ffi --lib --profile mobile --crate-type cdylib -- \
        -C link-arg=-Wl,-z,max-page-size=16384 -C link-arg=-Wl,--pack-dyn-relocs=android)
    library=${CARGO_TARGET_DIR:-$root/target}/$target/mobile/libvigie_ffi.so
    while read -r align; do
        [ $((align)) -ge 16384 ] || fail "$abi: a segment is aligned to $align; pages of 16 KiB want 0x4000"
    done < <("$readelf" -lW "$library" | awk '$1 == "LOAD" { print $NF }')
    mkdir -p "src/main/jniLibs/$abi" && cp "$library" "src/main/jniLibs/$abi/"
    printf '%s: %d bytes\n' "$abi" "$(wc -c <"$library")"
done
"$gradle" assembleRelease
find . -path '*/build/outputs/aar/*.aar' -print
