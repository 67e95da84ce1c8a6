#!/usr/bin/env bash
# Builds VigieLibrary.xcframework beside this file: iOS, its simulator on both kinds of Macs, and macOS on both.
# Needs a Mac with Xcode, and the five targets of Rust.
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
. "$root/bindings/mobile.sh"

fail() {
    echo "build-xcframework: $*" >&2
    exit 1
}
[ "$(uname -s)" = Darwin ] || fail "this needs a Mac: Apple's SDKs are to be had nowhere else"
xcodebuild -version >/dev/null 2>&1 || fail "no Xcode: install it, open it once, and xcode-select --switch /Applications/Xcode.app"
targets="aarch64-apple-ios aarch64-apple-ios-sim x86_64-apple-ios aarch64-apple-darwin x86_64-apple-darwin"
for target in $targets; do
    [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ] || fail "no Rust for $target: rustup target add $targets"
done

# As Package.swift has it.
export IPHONEOS_DEPLOYMENT_TARGET=15.0 MACOSX_DEPLOYMENT_TARGET=12.0
built=${CARGO_TARGET_DIR:-$root/target}
for target in $targets; do
    (cd "$root" && cargo rustc --locked -p vigie-ffi --lib --profile mobile --crate-type staticlib --target "$target")
done

folder=$built/xcframework
rm -rf "$folder" VigieLibrary.xcframework
mkdir -p "$folder"/{ios,simulator,macos}
# One file for each platform, with the architectures that it has.
lipo -create "$built/aarch64-apple-ios/mobile/libvigie_ffi.a" -output "$folder/ios/libvigie_ffi.a"
lipo -create "$built"/{aarch64-apple-ios-sim,x86_64-apple-ios}/mobile/libvigie_ffi.a -output "$folder/simulator/libvigie_ffi.a"
lipo -create "$built"/{aarch64-apple-darwin,x86_64-apple-darwin}/mobile/libvigie_ffi.a -output "$folder/macos/libvigie_ffi.a"
# Headers come with the package's own module, so that there is one copy.
xcodebuild -create-xcframework -library "$folder/ios/libvigie_ffi.a" -library "$folder/simulator/libvigie_ffi.a" \
    -library "$folder/macos/libvigie_ffi.a" -output VigieLibrary.xcframework
wc -c "$folder"/*/libvigie_ffi.a
