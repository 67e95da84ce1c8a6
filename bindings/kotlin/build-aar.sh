#!/usr/bin/env bash
# Builds the AAR: the library for four ABIs, aligned to pages of 16 KiB, and the Android project around it; and publishes it to a Maven repository in
# build/repository, with what it needs. Prints what an app's build says to use it.
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
rm -rf build/repository
# Named after the publication and the repository of build.gradle.kts:
# https://docs.gradle.org/current/userguide/publishing_maven.html#publishing_maven:tasks
"$gradle" publishReleasePublicationToFolderRepository
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' build.gradle.kts)
pom=build/repository/org/vigie/vigie-android/$version/vigie-android-$version.pom
[ -f "$pom" ] || fail "Gradle made no $pom; the coordinates are those of build.gradle.kts"
for needed in jna kotlinx-coroutines-android work-runtime-ktx; do
    grep -q "<artifactId>$needed</artifactId>" "$pom" || fail "$pom does not name $needed, and an app would miss it"
done
cat <<EOF
In settings.gradle.kts, under dependencyResolutionManagement, repositories:
    maven { url = uri("$PWD/build/repository") }
In the app's build.gradle.kts, under dependencies:
    implementation("org.vigie:vigie-android:$version")
EOF
